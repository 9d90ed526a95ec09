// SPDX-License-Identifier: Apache-2.0

//go:build go1.25

package subtests

import (
	"testing"
	"testing/synctest"
)

// A bubble must not leave a goroutine behind; who was before it may.
func TestSynctest(t *testing.T) {
	t.Run("bubble", func(t *testing.T) {
		dial(t.Name())
		synctest.Test(t, func(t *testing.T) { burn() })
	})
}
