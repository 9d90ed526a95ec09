// SPDX-License-Identifier: Apache-2.0

// server answers HTTP on ADDR: server ADDR [SECONDS]. With SECONDS it gives a
// client that long for each request, without it waits for ever.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	server := &http.Server{Handler: http.NotFoundHandler()}
	if len(os.Args) > 2 {
		n, err := strconv.Atoi(os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, "server:", err)
			os.Exit(64)
		}
		server.ReadTimeout = time.Duration(n) * time.Second
		server.IdleTimeout = time.Duration(n) * time.Second
	}
	lc := net.ListenConfig{KeepAlive: -1}
	l, err := lc.Listen(context.Background(), "tcp", os.Args[1])
	if err == nil {
		err = server.Serve(l)
	}
	fmt.Fprintln(os.Stderr, "server:", err)
	os.Exit(1)
}
