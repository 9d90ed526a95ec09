// SPDX-License-Identifier: Apache-2.0

// idle is a healthy program that has little to do.
//
//	idle server ADDR      accept, and read each connection until it ends
//	idle client ADDR N    open N connections to a server and keep them
//
// The server also listens for HTTP on the next port, keeps a pool of HTTP
// connections to itself, has timers, tickers, a signal loop and a worker pool:
// the waits of every long-running program. Its readers have no deadline, and
// its connections no keepalive, as in many a program that is well.
//
// Commands on stdin, each answered by one line: count (connections), quit.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "idle:", err)
		os.Exit(1)
	}
}

var connections int32

func serve(c net.Conn) {
	atomic.AddInt32(&connections, 1)
	defer atomic.AddInt32(&connections, -1)
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		if _, err := in.ReadString('\n'); err != nil {
			return
		}
	}
}

func accept(l net.Listener) {
	for {
		c, err := l.Accept()
		check(err)
		go serve(c)
	}
}

// serveHTTP serves, and keeps idle connections to the server in a pool.
func serveHTTP(addr string, pool int) {
	l, err := net.Listen("tcp", addr)
	check(err)
	mux := http.NewServeMux()
	var gate sync.WaitGroup
	gate.Add(pool)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		gate.Done()
		gate.Wait() // so that each request has its own connection
		io.WriteString(w, "ok\n")
	})
	go http.Serve(l, mux)
	client := &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: pool}}
	var wg sync.WaitGroup
	for i := 0; i < pool; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r, err := client.Get("http://" + l.Addr().String() + "/")
			check(err)
			_, err = io.Copy(io.Discard, r.Body)
			check(err)
			check(r.Body.Close())
		}()
	}
	wg.Wait()
}

type job func()

// workers wait for jobs, and for the end.
func workers(n int, jobs <-chan job, ctx context.Context) {
	for i := 0; i < n; i++ {
		go func() {
			for {
				select {
				case j := <-jobs:
					j()
				case <-ctx.Done():
					return
				}
			}
		}()
	}
}

func housekeeping() {
	ticker := time.NewTicker(time.Hour)
	for range ticker.C {
	}
}

func signals() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	go func() {
		for range c {
		}
	}()
}

func server(addr string) {
	lc := net.ListenConfig{KeepAlive: -1}
	l, err := lc.Listen(context.Background(), "tcp", addr)
	check(err)
	go accept(l)
	host, port, err := net.SplitHostPort(addr)
	check(err)
	n, err := strconv.Atoi(port)
	check(err)
	serveHTTP(net.JoinHostPort(host, strconv.Itoa(n+1)), 8)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	workers(8, make(chan job), ctx)
	signals()
	go housekeeping()
	time.AfterFunc(time.Hour, func() {})
	go time.Sleep(time.Hour)
	commands()
}

func client(addr string, n int) {
	d := net.Dialer{KeepAlive: -1}
	for i := 0; i < n; i++ {
		c, err := d.Dial("tcp", addr)
		check(err)
		go serve(c)
	}
	for int(atomic.LoadInt32(&connections)) < n {
		time.Sleep(10 * time.Millisecond)
	}
	commands()
}

func commands() {
	fmt.Printf(`{"pid":%d}`+"\n", os.Getpid())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch strings.TrimSpace(in.Text()) {
		case "count":
			fmt.Println("count", atomic.LoadInt32(&connections))
		case "quit":
			return
		}
	}
}

func main() {
	switch os.Args[1] {
	case "server":
		server(os.Args[2])
	case "client":
		n, err := strconv.Atoi(os.Args[3])
		check(err)
		client(os.Args[2], n)
	}
}
