// SPDX-License-Identifier: Apache-2.0

package websocket

import (
	"example.com/leaks/side"
	"github.com/gorilla/websocket"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { side.Main(m) }

func dial(t *testing.T) (*websocket.Conn, *httptest.Server) {
	up := websocket.Upgrader{}
	s := httptest.NewServer(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			c, err := up.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			defer c.Close()
			for {
				if _, _, err := c.ReadMessage(); err != nil {
					return
				}
			}
		}))
	c, _, err := websocket.DefaultDialer.Dial(
		"ws"+strings.TrimPrefix(s.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

func readLoop(c *websocket.Conn) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, _, err := c.ReadMessage(); err != nil {
				return
			}
		}
	}()
	return done
}

func TestLeaky(t *testing.T) {
	c, _ := dial(t)
	readLoop(c)
}

func TestHealthy(t *testing.T) {
	c, s := dial(t)
	done := readLoop(c)
	c.Close()
	<-done
	s.Close()
}
