// SPDX-License-Identifier: Apache-2.0

//go:build cgo
// +build cgo

package main

/*
#include <unistd.h>
extern void parkInGo(int);
static int call_back(int n) { parkInGo(n); return n; }
static int twice(int n) { return call_back(n) + 1; }
static int block_in_c(int fd) { char b; return read(fd, &b, 1); }
*/
import "C"

import "syscall"

//export parkInGo
func parkInGo(n C.int) {
	if n > 0 {
		C.twice(n - 1)
		return
	}
	note("cgo-callback", "chan receive")
	<-never
}

func intoC(n int) { C.twice(C.int(n)) }

func blockInC(fd int) {
	note("cgo-read", "syscall", "fd", fd)
	C.block_in_c(C.int(fd))
}

func startCgo() {
	expect(3)
	go intoC(0)
	go intoC(3)
	var p [2]int
	must(syscall.Pipe(p[:]))
	go blockInC(p[0])
}
