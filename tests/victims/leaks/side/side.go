// SPDX-License-Identifier: Apache-2.0

// Package side runs a package's tests under goleak or, for the gate, without.
package side

import (
	"net"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main is every package's TestMain. With GOLEAK=1 the exit status says what
// goleak says; without it, what the tests say, and these all pass.
func Main(m *testing.M) {
	if os.Getenv("GOLEAK") == "1" {
		goleak.VerifyTestMain(m)
		return
	}
	os.Exit(m.Run())
}

// Silent accepts connections and never says a word on them.
func Silent(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
