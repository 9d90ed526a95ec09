// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
)

// httpPool leaves one used connection in the pool of a transport.
func httpPool(role, addr string) *conn {
	var used net.Conn
	d := net.Dialer{KeepAlive: *keepalive, Control: setOptions}
	client := &http.Client{Transport: &http.Transport{DialContext: d.DialContext}}
	trace := &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { used = i.Conn },
	}
	req, err := http.NewRequestWithContext(
		httptrace.WithClientTrace(context.Background(), trace),
		"GET", "http://"+addr+"/", nil)
	check(err)
	resp, err := client.Do(req)
	check(err)
	_, err = io.Copy(io.Discard, resp.Body)
	check(err)
	check(resp.Body.Close())
	return known(role, used, "net/http.(*persistConn).readLoop", "read")
}

// httpServer has no ReadTimeout. It returns when n clients from each of the
// two addresses have called.
func httpServer(n int) []*conn {
	var conns []*conn
	arrived := make(chan net.Conn, 1024)
	server := &http.Server{
		Handler: http.NotFoundHandler(),
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateNew {
				arrived <- c
			}
		},
	}
	lc := net.ListenConfig{KeepAlive: -1}
	l, err := lc.Listen(context.Background(), "tcp", ":7000")
	check(err)
	go func() { check(server.Serve(l)) }()
	fmt.Println("listening")
	want := map[string]int{host(*target): n, host(*healthy): n}
	roles := map[string]string{host(*target): "target", host(*healthy): "healthy"}
	for left := 2 * n; left > 0; left-- {
		c := <-arrived
		from := host(c.RemoteAddr().String())
		if want[from] == 0 {
			check(fmt.Errorf("a call from %s", from))
		}
		want[from]--
		conns = append(conns, known(roles[from], c,
			"net/http.(*conn).serve", "read"))
	}
	return conns
}

func host(addr string) string {
	h, _, err := net.SplitHostPort(addr)
	check(err)
	return h
}
