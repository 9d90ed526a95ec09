// SPDX-License-Identifier: Apache-2.0

// conns opens connections and waits on them, as it is told. Commands on stdin,
// each answered by one JSON line on stdout:
//
//	listen NETWORK ADDR      {"addr"}; keepalive off
//	dial NETWORK ADDR KA     {"conn","local","remote","fd"}
//	                         KA: keepalive period in seconds, -1 is off
//	accept                   the same, of the last listener
//	read I [SECONDS]         a goroutine reads connection I: {"id"};
//	                         with a deadline when SECONDS is given
//	rawread I                one waits for a readable that it never takes
//	write I BYTES            one writes: {"id"}
//	send I BYTES             write here and now
//	close I
//	spin N                   N goroutines run for ever
//	quit
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var (
	conns    []net.Conn
	listener net.Listener
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "conns:", err)
		os.Exit(1)
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	check(err)
	return n
}

func goid() string {
	var buf [64]byte
	return strings.Fields(string(buf[:runtime.Stack(buf[:], false)]))[1]
}

func add(c net.Conn) {
	conns = append(conns, c)
	raw, err := c.(syscall.Conn).SyscallConn()
	check(err)
	fd := -1
	check(raw.Control(func(f uintptr) { fd = int(f) }))
	fmt.Printf(`{"conn":%d,"local":%q,"remote":%q,"fd":%d}`+"\n",
		len(conns)-1, c.LocalAddr(), c.RemoteAddr(), fd)
}

func readReply(c net.Conn, id chan<- string) {
	id <- goid()
	buf := make([]byte, 4096)
	for {
		if _, err := c.Read(buf); err != nil {
			fmt.Fprintln(os.Stderr, "read:", err)
			return
		}
	}
}

func waitReadable(c net.Conn, id chan<- string) {
	raw, err := c.(syscall.Conn).SyscallConn()
	check(err)
	id <- goid()
	raw.Read(func(uintptr) bool { return false })
}

func writeRequest(c net.Conn, n int, id chan<- string) {
	id <- goid()
	if _, err := c.Write(make([]byte, n)); err != nil {
		fmt.Fprintln(os.Stderr, "write:", err)
	}
}

func spin() {
	for i := 0; ; i++ {
	}
}

func dial(network, addr string, keepalive int) {
	d := net.Dialer{KeepAlive: time.Duration(keepalive) * time.Second}
	c, err := d.Dial(network, addr)
	check(err)
	if keepalive > 0 {
		// Since Go 1.23 the period above is not the interval any more.
		raw, err := c.(syscall.Conn).SyscallConn()
		check(err)
		check(raw.Control(func(fd uintptr) {
			check(syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP,
				syscall.TCP_KEEPINTVL, keepalive))
		}))
	}
	add(c)
}

func listen(network, addr string) {
	lc := net.ListenConfig{KeepAlive: -1}
	l, err := lc.Listen(context.Background(), network, addr)
	check(err)
	listener = l
	fmt.Printf(`{"addr":%q}`+"\n", l.Addr())
}

func command(words []string) {
	id := make(chan string, 1)
	var c net.Conn
	switch words[0] {
	case "read", "rawread", "write", "send", "close":
		c = conns[number(words[1])]
	}
	switch words[0] {
	case "listen":
		listen(words[1], words[2])
	case "dial":
		dial(words[1], words[2], number(words[3]))
	case "accept":
		c, err := listener.Accept()
		check(err)
		add(c)
	case "read":
		if len(words) > 2 {
			check(c.SetReadDeadline(time.Now().Add(
				time.Duration(number(words[2])) * time.Second)))
		}
		go readReply(c, id)
		fmt.Printf(`{"id":%s}`+"\n", <-id)
	case "rawread":
		go waitReadable(c, id)
		fmt.Printf(`{"id":%s}`+"\n", <-id)
	case "write":
		go writeRequest(c, number(words[2]), id)
		fmt.Printf(`{"id":%s}`+"\n", <-id)
	case "send":
		_, err := c.Write(make([]byte, number(words[2])))
		check(err)
		fmt.Println("{}")
	case "close":
		check(c.Close())
		fmt.Println("{}")
	case "spin":
		for i := number(words[1]); i > 0; i-- {
			go spin()
		}
		fmt.Println("{}")
	case "quit":
		os.Exit(0)
	default:
		check(fmt.Errorf("%q: no such command", words[0]))
	}
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if words := strings.Fields(in.Text()); len(words) > 0 {
			command(words)
		}
	}
}
