// SPDX-License-Identifier: Apache-2.0

//go:build go1.18
// +build go1.18

package subtests

import "testing"

func FuzzPool(f *testing.F) {
	f.Add(1)
	f.Fuzz(func(t *testing.T, n int) {
		dial(t.Name())
		hold()
	})
}
