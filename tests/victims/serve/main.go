// SPDX-License-Identifier: Apache-2.0

// serve answers HTTP on a port of its own, on 127.0.0.1, that it prints:
//
//	/ok        at once
//	/leak?n=N  and leaves N goroutines behind
//	/hold      and does not answer before /release
//	/burst?n=N with N goroutines that end after half a second
//	/dial?to=A and leaves a goroutine that reads from A
//	/truth     how many it has left behind
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

var left int64

var never = make(chan int)
var release = make(chan int)

func leftBehind() {
	atomic.AddInt64(&left, 1)
	<-never
}

func readsForEver(c net.Conn) {
	atomic.AddInt64(&left, 1)
	_, _ = c.Read(make([]byte, 1))
}

func number(r *http.Request) int {
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	return n
}

func leak(w http.ResponseWriter, r *http.Request) {
	for i := number(r); i > 0; i-- {
		go leftBehind()
	}
	fmt.Fprintln(w, "leaked")
}

func hold(w http.ResponseWriter, r *http.Request) {
	<-release
	fmt.Fprintln(w, "released")
}

func burst(w http.ResponseWriter, r *http.Request) {
	for i := number(r); i > 0; i-- {
		go time.Sleep(500 * time.Millisecond)
	}
	fmt.Fprintln(w, "burst")
}

func dial(w http.ResponseWriter, r *http.Request) {
	d := net.Dialer{KeepAlive: -1}
	c, err := d.DialContext(context.Background(), "tcp",
		r.URL.Query().Get("to"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	go readsForEver(c)
	fmt.Fprintln(w, "dialed")
}

func main() {
	lc := net.ListenConfig{KeepAlive: -1}
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
	http.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	http.HandleFunc("/leak", leak)
	http.HandleFunc("/hold", hold)
	http.HandleFunc("/release", func(w http.ResponseWriter, r *http.Request) {
		close(release)
		fmt.Fprintln(w, "released")
	})
	http.HandleFunc("/burst", burst)
	http.HandleFunc("/dial", dial)
	http.HandleFunc("/truth", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, atomic.LoadInt64(&left))
	})
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	_ = http.Serve(l, nil)
}
