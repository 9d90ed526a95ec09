// SPDX-License-Identifier: Apache-2.0

package pipes

import (
	"example.com/leaks/side"
	"io"
	"os/exec"
	"testing"
)

func TestMain(m *testing.M) { side.Main(m) }

type capture struct{ n int }

func (c *capture) Write(b []byte) (int, error) {
	c.n += len(b)
	return len(b), nil
}

func start(t *testing.T) (*exec.Cmd, io.WriteCloser) {
	cmd := exec.Command("cat")
	cmd.Stdout = &capture{} // no file: a goroutine copies
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, in
}

// Nobody waits for it, and its standard input stays open.
func TestLeaky(t *testing.T) { start(t) }

func TestHealthy(t *testing.T) {
	cmd, in := start(t)
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}
