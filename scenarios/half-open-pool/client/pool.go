// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"net"
	"sync"
)

// Pool is a set of connections to one job queue, each with its own worker.
type Pool struct {
	dialer net.Dialer
	addr   string

	mu    sync.Mutex
	conns []*Conn
}

// Conn is one connection of a Pool.
type Conn struct {
	net.Conn
	in *bufio.Reader
}

// NewPool opens n connections to addr and starts a worker on each.
func NewPool(addr string, n int) (*Pool, error) {
	// The two mistakes that this scenario is about: keepalive is switched
	// off here, and nobody sets a deadline below.
	p := &Pool{addr: addr, dialer: net.Dialer{KeepAlive: -1}}
	for i := 0; i < n; i++ {
		if err := p.dial(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *Pool) dial() error {
	c, err := p.dialer.Dial("tcp", p.addr)
	if err != nil {
		return err
	}
	conn := &Conn{c, bufio.NewReader(c)}
	p.mu.Lock()
	p.conns = append(p.conns, conn)
	p.mu.Unlock()
	go p.work(conn)
	return nil
}

// work asks for one job after the other and does it.
func (p *Pool) work(c *Conn) {
	defer c.Close()
	tell(p, c)
	for {
		job, err := p.pop(c)
		if err != nil {
			return
		}
		do(job)
	}
}

// pop waits for the next job, for as long as it takes: for ever.
func (p *Pool) pop(c *Conn) (string, error) {
	if _, err := fmt.Fprint(c, "BLPOP jobs 0\r\n"); err != nil {
		return "", err
	}
	return p.readReply(c)
}

func (p *Pool) readReply(c *Conn) (string, error) {
	line, err := c.in.ReadSlice('\n')
	return string(line), err
}

func do(job string) {}
