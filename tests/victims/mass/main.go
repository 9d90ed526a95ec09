// SPDX-License-Identifier: Apache-2.0

// mass parks many goroutines in mixed stacks and answers over TCP meanwhile,
// so that its latency can be measured while somebody reads it: mass N
//
// It prints one JSON line {pid, ping, http, goroutines} once all are parked.
// ping answers each byte with the same byte; http serves net/http/pprof.
// It ends when its stdin is closed.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"
)

func recurse(n int, c chan int) int {
	if n == 0 {
		return <-c
	}
	return recurse(n-1, c) + n
}

func waitChan(c chan int) { <-c }

func waitGroup(wg *sync.WaitGroup) { wg.Wait() }

func waitSelect(a, b chan int) {
	select {
	case <-a:
	case b <- 1:
	}
}

func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			b := make([]byte, 1)
			for {
				if _, err := c.Read(b); err != nil {
					return
				}
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}()
	}
}

func listen() net.Listener {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "mass:", err)
		os.Exit(1)
	}
	return l
}

func main() {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "mass:", err)
		os.Exit(1)
	}
	ping, web := listen(), listen()
	go echo(ping)
	go http.Serve(web, nil)
	var wg sync.WaitGroup
	wg.Add(1)
	a, b := make(chan int), make(chan int)
	for i := 0; i < n; i++ {
		switch i % 4 {
		case 0:
			go recurse(12, a)
		case 1:
			go waitChan(b)
		case 2:
			go waitGroup(&wg)
		case 3:
			go waitSelect(a, nil)
		}
	}
	time.Sleep(200*time.Millisecond + time.Duration(n)*5*time.Microsecond)
	fmt.Printf(`{"pid":%d,"ping":%q,"http":%q,"goroutines":%d}`+"\n",
		os.Getpid(), ping.Addr(), web.Addr(), runtime.NumGoroutine())
	io.Copy(io.Discard, os.Stdin)
}
