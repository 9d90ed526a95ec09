// SPDX-License-Identifier: Apache-2.0

package listener

import (
	"example.com/leaks/side"
	"net"
	"testing"
)

func TestMain(m *testing.M) { side.Main(m) }

func serve(l net.Listener) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	return done
}

func TestLeaky(t *testing.T) { serve(side.Silent(t)) }

func TestHealthy(t *testing.T) {
	l := side.Silent(t)
	done := serve(l)
	l.Close()
	<-done
}
