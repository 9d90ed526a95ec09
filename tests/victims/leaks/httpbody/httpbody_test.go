// SPDX-License-Identifier: Apache-2.0

package httpbody

import (
	"example.com/leaks/side"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestMain(m *testing.M) { side.Main(m) }

func get(t *testing.T, c *http.Client, url string) *http.Response {
	r, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func serve(t *testing.T) (*httptest.Server, *http.Client) {
	s := httptest.NewServer(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			w.Write(make([]byte, 1<<20))
		}))
	return s, &http.Client{Transport: &http.Transport{}}
}

func TestLeaky(t *testing.T) {
	s, c := serve(t)
	_ = get(t, c, s.URL) // its body is never closed
}

func TestHealthy(t *testing.T) {
	s, c := serve(t)
	r := get(t, c, s.URL)
	io.Copy(io.Discard, r.Body)
	r.Body.Close()
	c.CloseIdleConnections()
	s.Close()
}
