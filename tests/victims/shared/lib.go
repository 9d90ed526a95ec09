// SPDX-License-Identifier: Apache-2.0

// shared is Go inside a C program: built with -buildmode=c-shared, and main.c
// calls it.
package main

import "C"

var never = make(chan int)

func parkedInLibrary() { <-never }

//export StartGo
func StartGo() {
	for i := 0; i < 5; i++ {
		go parkedInLibrary()
	}
}

func main() {}
