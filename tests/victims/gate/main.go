// SPDX-License-Identifier: Apache-2.0

// A program that ends, one way or another, for the tests of the gate.
//
// usage: gate clean|leak|fail|fatal|hang|slow MS|collect MS|child PROGRAM|
//
//	exec PROGRAM|line|read ADDR|hold ADDR
package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

func block() { <-make(chan int) }

func leak() { go block() }

func fatal() {
	done := make(chan int)
	go func() { log.Fatal("the end") }()
	<-done
}

// It would end, given time.
func slow(ms string) {
	n, err := strconv.Atoi(ms)
	if err != nil {
		log.Fatal(err)
	}
	go time.Sleep(time.Duration(n) * time.Millisecond)
}

type node struct{ left, right *node }

func tree(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{tree(depth - 1), tree(depth - 1)}
}

// Ends at any time of a garbage collection, with one that is slow to end.
func collect(ms string) {
	n, err := strconv.Atoi(ms)
	if err != nil {
		log.Fatal(err)
	}
	live := tree(18)
	for end := time.Now().Add(time.Duration(n) * time.Millisecond); time.Now().Before(end); {
		tree(6)
	}
	slow("20")
	runtime.KeepAlive(live)
}

func child(args []string) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		log.Fatal(err)
	}
}

// Reads from a peer that says one byte, waits for a line on standard input,
// and ends.
func read(addr string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		log.Fatal(err)
	}
	one := make([]byte, 1)
	if _, err := c.Read(one); err != nil {
		log.Fatal(err)
	}
	go c.Read(one)
	fmt.Println("reading")
	fmt.Scanln()
}

// Holds a connection on which nobody waits until a line comes.
func hold(addr string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("holding")
	fmt.Scanln()
	c.LocalAddr()
}

func main() {
	switch os.Args[1] {
	case "leak":
		leak()
	case "fail":
		leak()
		os.Exit(3)
	case "fatal":
		fatal()
	case "hang":
		signal.Notify(make(chan os.Signal, 1), os.Interrupt)
		block()
	case "slow":
		slow(os.Args[2])
	case "collect":
		collect(os.Args[2])
	case "child":
		child(os.Args[2:])
	case "exec":
		leak() // which nobody will see
		log.Fatal(syscall.Exec(os.Args[2], os.Args[2:], os.Environ()))
	case "line":
		leak()
		fmt.Println("waiting")
		fmt.Scanln()
	case "hold":
		hold(os.Args[2])
	case "read":
		read(os.Args[2])
	}
}
