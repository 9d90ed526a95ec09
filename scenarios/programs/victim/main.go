// SPDX-License-Identifier: Apache-2.0

// victim opens the same kind of connection to a target, which will die, and to
// its healthy twin, which will not, and waits on both as programs do:
//
//	victim MODE --target ADDR:PORT --healthy ADDR:PORT [options]
//
//	reader       send a request, read the answer without a deadline
//	writer       write until nothing more is taken
//	close-wait   read to the end, and never close
//	fin-wait2    say goodbye, then read on
//	connect      call the target without a time-out
//	tls          wait for the other side of the TLS handshake
//	http-pool    keep a used connection in the pool of net/http
//	http-server  serve without ReadTimeout whoever calls port 7000
//	subscribe    wait for a message of a Redis channel
//	listen       wait for a PostgreSQL notification
//
// Its truth is one JSON line on standard output, further lines follow when a
// wait that should last returns. Commands on standard input: "write N" sends N
// bytes to the target.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// conn is what the victim knows of one of its connections.
type conn struct {
	Role      string `json:"role"`
	Local     string `json:"local"`
	Remote    string `json:"remote"`
	FD        int    `json:"fd"`
	Goroutine string `json:"goroutine"`
	Blocked   string `json:"blocked"`
	net       net.Conn
}

// mode makes the connections of both roles and waits on them.
type mode func(role, addr string) *conn

var (
	target    = flag.String("target", "", "`ADDR:PORT` that will die")
	healthy   = flag.String("healthy", "", "`ADDR:PORT` that will not")
	keepalive = flag.Duration("keepalive", -1, "idle time and interval; negative is off")
	count     = flag.Int("count", 9, "unanswered keepalives that end the connection")
	request   = flag.Int("request", 64, "bytes of the request")
	userLimit = flag.Duration("user-timeout", 0, "TCP_USER_TIMEOUT")
	number    = flag.Int("n", 1, "connections to each")

	output sync.Mutex
	modes  = map[string]mode{
		"reader":     reader,
		"writer":     writer,
		"close-wait": closeWait,
		"fin-wait2":  finWait2,
		"connect":    connect,
		"tls":        tlsHandshake,
		"http-pool":  httpPool,
		"subscribe":  subscribe,
		"listen":     listen,
	}
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "victim:", err)
		os.Exit(1)
	}
}

func say(v interface{}) {
	line, err := json.Marshal(v)
	check(err)
	output.Lock()
	defer output.Unlock()
	os.Stdout.Write(append(line, '\n'))
}

// word is what ended a wait, as the kernel calls it.
func word(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "none"
	case errors.Is(err, io.EOF):
		return "EOF"
	case errors.As(err, &errno):
		for name, e := range map[string]syscall.Errno{
			"ECONNRESET": syscall.ECONNRESET, "ETIMEDOUT": syscall.ETIMEDOUT,
			"ECONNABORTED": syscall.ECONNABORTED, "EPIPE": syscall.EPIPE,
			"EHOSTUNREACH": syscall.EHOSTUNREACH, "ENETUNREACH": syscall.ENETUNREACH,
			"ECONNREFUSED": syscall.ECONNREFUSED,
		} {
			if e == errno {
				return name
			}
		}
	}
	return err.Error()
}

// returned says that a wait ended which should not have.
func returned(role string, err error) {
	say(map[string]string{"event": "returned", "role": role, "error": word(err)})
}

// known fills in what the kernel says of c.
func known(role string, c net.Conn, goroutine, blocked string) *conn {
	raw, err := c.(syscall.Conn).SyscallConn()
	check(err)
	fd := -1
	check(raw.Control(func(f uintptr) { fd = int(f) }))
	return &conn{role, c.LocalAddr().String(), c.RemoteAddr().String(), fd,
		goroutine, blocked, c}
}

func setOptions(network, address string, raw syscall.RawConn) error {
	set := func(fd uintptr, level, name, value int) {
		check(syscall.SetsockoptInt(int(fd), level, name, value))
	}
	return raw.Control(func(fd uintptr) {
		if *keepalive > 0 {
			seconds := int(*keepalive / time.Second)
			set(fd, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1)
			set(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, seconds)
			set(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, seconds)
			set(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, *count)
		}
		if *userLimit > 0 {
			const tcpUserTimeout = 18
			set(fd, syscall.IPPROTO_TCP, tcpUserTimeout,
				int(*userLimit/time.Millisecond))
		}
	})
}

func dial(addr string) net.Conn {
	d := net.Dialer{KeepAlive: -1, Control: setOptions}
	c, err := d.Dial("tcp", addr)
	check(err)
	return c
}

// commands are for the first target.
func commands(c *conn) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) != 2 || words[0] != "write" || c == nil || c.net == nil {
			continue
		}
		n, err := strconv.Atoi(words[1])
		check(err)
		go func() {
			if _, err := c.net.Write(make([]byte, n)); err != nil {
				returned(c.Role, err)
			}
		}()
		say(map[string]string{"event": "written"})
	}
	os.Exit(0) // whoever started us is gone
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: victim MODE --target ADDR --healthy ADDR")
		os.Exit(64)
	}
	name := os.Args[1]
	check(flag.CommandLine.Parse(os.Args[2:]))
	var conns []*conn
	if name == "http-server" {
		conns = httpServer(*number)
	} else if run := modes[name]; run != nil {
		for i := 0; i < *number; i++ {
			conns = append(conns, run("target", *target), run("healthy", *healthy))
		}
	} else {
		check(fmt.Errorf("no mode '%s'", name))
	}
	say(map[string]interface{}{"pid": os.Getpid(), "connections": conns})
	var first *conn
	for _, c := range conns {
		if c.Role == "target" && first == nil {
			first = c
		}
	}
	commands(first)
}
