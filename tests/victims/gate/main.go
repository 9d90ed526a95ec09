// SPDX-License-Identifier: Apache-2.0

// A program that ends, one way or another, for the tests of the gate.
//
// usage: gate clean|leak|fail|fatal|hang|slow MS|child PROGRAM|exec PROGRAM|
//
//	line|read ADDR|hold ADDR
package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
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
