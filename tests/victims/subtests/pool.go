// SPDX-License-Identifier: Apache-2.0

// Package subtests leaves one goroutine behind in each of its subtests, and
// says which: "LEAK 17 TestPool/redial", by runtime.Stack and T.Name.
package subtests

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"time"
)

type pool struct{ in chan int }

// No function of a test is on this goroutine's stack, nor is one its creator.
func dial(name string) {
	p := &pool{make(chan int)}
	go p.run(name)
}

func (p *pool) run(name string) {
	say(name)
	<-p.in
}

func goid() string {
	buf := make([]byte, 64)
	return string(bytes.Fields(buf[:runtime.Stack(buf, false)])[1])
}

func say(name string) {
	fmt.Fprintf(os.Stderr, "\nLEAK %s %s\n", goid(), name)
}

// hold lets a test last for HOLD, or not at all.
func hold() {
	d, _ := time.ParseDuration(os.Getenv("HOLD"))
	time.Sleep(d)
}

// burn does the same on a processor.
func burn() {
	d, _ := time.ParseDuration(os.Getenv("HOLD"))
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
}
