// SPDX-License-Identifier: Apache-2.0

//go:build go1.25
// +build go1.25

package subtests

import (
	"syscall"
	"testing"
	"testing/synctest"
)

// A bubble must not leave a goroutine behind; who was before it may. Inside of
// it package time has no clock.
func TestSynctest(t *testing.T) {
	t.Run("bubble", func(t *testing.T) {
		dial(t.Name())
		synctest.Test(t, func(t *testing.T) {
			syscall.Nanosleep(&syscall.Timespec{Nsec: 150e6}, nil)
		})
	})
}
