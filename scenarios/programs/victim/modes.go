// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// waitReply is where a reader is stranded.
func waitReply(role string, c net.Conn) {
	buf := make([]byte, 4096)
	for {
		if _, err := c.Read(buf); err != nil {
			returned(role, err)
			return
		}
	}
}

func reader(role, addr string) *conn {
	c := dial(addr)
	if *request > 0 {
		_, err := c.Write([]byte(strings.Repeat("x", *request-1) + "\n"))
		check(err)
	}
	go waitReply(role, c)
	return known(role, c, "main.waitReply", "read")
}

// writeAll is where a writer is stranded: the other side does not take it.
func writeAll(role string, c net.Conn) {
	buf, pause := make([]byte, 1<<16), time.Duration(0)
	if role == "healthy" { // one that is always taken would keep a core busy
		buf, pause = buf[:1<<10], 200*time.Millisecond
	}
	for {
		if _, err := c.Write(buf); err != nil {
			returned(role, err)
			return
		}
		time.Sleep(pause)
	}
}

func writer(role, addr string) *conn {
	c := dial(addr)
	check(c.(*net.TCPConn).SetWriteBuffer(1 << 16))
	go writeAll(role, c)
	return known(role, c, "main.writeAll", "write")
}

// closeWait takes note of the other side's goodbye, and keeps the connection.
func closeWait(role, addr string) *conn {
	c := dial(addr)
	go func() {
		io.Copy(io.Discard, c)
		select {}
	}()
	return known(role, c, "", "none")
}

func finWait2(role, addr string) *conn {
	c := dial(addr)
	_, err := c.Write([]byte("last words\n"))
	check(err)
	check(c.(*net.TCPConn).CloseWrite())
	go waitReply(role, c)
	return known(role, c, "main.waitReply", "read")
}

// dialTarget is where a caller is stranded.
func dialTarget(role, addr string) {
	_, err := (&net.Dialer{KeepAlive: -1}).Dial("tcp", addr)
	returned(role, err)
}

func connect(role, addr string) *conn {
	if role == "healthy" {
		return reader(role, addr)
	}
	go dialTarget(role, addr)
	return &conn{Role: role, Remote: addr, FD: -1,
		Goroutine: "main.dialTarget", Blocked: "connect"}
}

// handshake is where a TLS client is stranded.
func handshake(role string, c net.Conn) {
	returned(role, tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake())
}

func tlsHandshake(role, addr string) *conn {
	c := dial(addr)
	go handshake(role, c)
	return known(role, c, "main.handshake", "read")
}

// waitMessage is where a subscriber is stranded.
func waitMessage(role string, r *bufio.Reader) {
	for {
		if _, err := r.ReadString('\n'); err != nil {
			returned(role, err)
			return
		}
	}
}

// subscribe speaks as much of RESP as SUBSCRIBE takes: the answer has six
// lines (redis.io/docs/reference/protocol-spec, arrays of bulk strings).
func subscribe(role, addr string) *conn {
	c := dial(addr)
	_, err := c.Write([]byte("*2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nnews\r\n"))
	check(err)
	r := bufio.NewReader(c)
	for i := 0; i < 6; i++ {
		line, err := r.ReadString('\n')
		check(err)
		if strings.HasPrefix(line, "-") {
			check(errors.New("redis: " + line))
		}
	}
	go waitMessage(role, r)
	return known(role, c, "main.waitMessage", "read")
}

// pgMessage reads one message of PostgreSQL's protocol 3.0 (a type byte, then
// a length that counts itself).
func pgMessage(r io.Reader) (byte, string, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, "", err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n < 4 || n > 1<<16 {
		return 0, "", fmt.Errorf("a message of %d bytes", n)
	}
	body := make([]byte, n-4)
	_, err := io.ReadFull(r, body)
	return head[0], string(body), err
}

// pgReady reads until the server waits for a query.
func pgReady(r io.Reader) {
	for {
		kind, body, err := pgMessage(r)
		check(err)
		switch kind {
		case 'E':
			check(fmt.Errorf("postgres: %q", body))
		case 'Z':
			return
		}
	}
}

func pgSend(c net.Conn, kind, body string) {
	var size [4]byte
	binary.BigEndian.PutUint32(size[:], uint32(len(body)+4))
	_, err := c.Write([]byte(kind + string(size[:]) + body))
	check(err)
}

// waitNotification is where a listener of notifications is stranded.
func waitNotification(role string, r io.Reader) {
	for {
		if _, _, err := pgMessage(r); err != nil {
			returned(role, err)
			return
		}
	}
}

func listen(role, addr string) *conn {
	c := dial(addr)
	r := bufio.NewReader(c)
	pgSend(c, "", "\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00")
	pgReady(r)
	pgSend(c, "Q", "LISTEN news\x00")
	pgReady(r)
	// No answer is under way any more once the acknowledgement is out.
	time.Sleep(50 * time.Millisecond)
	go waitNotification(role, r)
	return known(role, c, "main.waitNotification", "read")
}
