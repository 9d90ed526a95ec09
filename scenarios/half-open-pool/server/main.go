// SPDX-License-Identifier: Apache-2.0

// server is a job queue that has no jobs: server ADDR.
//
// It speaks as much of the Redis protocol as a worker needs that waits in
// BLPOP, and prints a line once it listens.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
)

func serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewScanner(c)
	for in.Scan() {
		switch {
		case strings.HasPrefix(in.Text(), "PING"):
			fmt.Fprint(c, "+PONG\r\n")
		case strings.HasPrefix(in.Text(), "BLPOP"):
			// There is no job, and no time limit either.
		default:
			fmt.Fprint(c, "-ERR unknown command\r\n")
		}
	}
}

func main() {
	// Keepalive off on this side too: a server that is polite would notice.
	lc := net.ListenConfig{KeepAlive: -1}
	l, err := lc.Listen(context.Background(), "tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
	fmt.Println("listening", l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "server:", err)
			os.Exit(1)
		}
		go serve(c)
	}
}
