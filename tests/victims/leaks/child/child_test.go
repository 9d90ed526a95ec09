// SPDX-License-Identifier: Apache-2.0

package child

import (
	"os"
	"os/exec"
	"testing"

	"example.com/leaks/side"
)

// The child is this program again, which then is no test.
func TestMain(m *testing.M) {
	switch os.Getenv("CHILD") {
	case "leaky":
		go func() { <-make(chan int) }()
	case "healthy":
	default:
		side.Main(m)
	}
}

func run(t *testing.T, as string) {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "CHILD="+as)
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
}

func TestLeaky(t *testing.T) { run(t, "leaky") }

func TestHealthy(t *testing.T) { run(t, "healthy") }
