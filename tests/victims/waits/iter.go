// SPDX-License-Identifier: Apache-2.0

//go:build go1.23

package main

import "iter"

// startIter parks a goroutine of the runtime's own coroutines, which is in no
// run queue and waits for next().
func startIter() {
	next, stop := iter.Pull(func(yield func(int) bool) {
		expect(1)
		note("iterator", "coroutine")
		yield(1)
		yield(2)
	})
	next()
	keep = append(keep, next, stop)
}
