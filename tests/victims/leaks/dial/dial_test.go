// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"example.com/leaks/side"
	"net"
	"testing"
	"time"
)

func TestMain(m *testing.M) { side.Main(m) }

func read(c net.Conn) <-chan error {
	failed := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		failed <- err
	}()
	return failed
}

func dial(t *testing.T) net.Conn {
	l := side.Silent(t)
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// No deadline, and a peer that never answers.
func TestLeaky(t *testing.T) { read(dial(t)) }

func TestHealthy(t *testing.T) {
	c := dial(t)
	c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if <-read(c) == nil {
		t.Fatal("an answer")
	}
	c.Close()
}
