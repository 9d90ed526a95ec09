// SPDX-License-Identifier: Apache-2.0

package parallel

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestParallel(t *testing.T) {
	for _, name := range []string{"one", "two", "three"} {
		name := name
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if os.Getenv("GOLEAK") == "1" {
				defer goleak.VerifyNone(t)
			}
			time.Sleep(10 * time.Millisecond)
			if name == "two" {
				go func() { <-make(chan int) }()
			}
		})
	}
}

func TestOther(t *testing.T) { t.Parallel() }
