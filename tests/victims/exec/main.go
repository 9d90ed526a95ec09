// SPDX-License-Identifier: Apache-2.0

// exec replaces itself by itself for ever, so that whoever looks at it sees a
// process between two images most of the time.
package main

import (
	"os"
	"syscall"
	"time"
)

func main() {
	go func() { select {} }()
	time.Sleep(time.Millisecond)
	syscall.Exec("/proc/self/exe", os.Args, os.Environ())
}
