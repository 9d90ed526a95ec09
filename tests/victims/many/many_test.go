// SPDX-License-Identifier: Apache-2.0

// Package many has 200 tests that take about a second and leave nothing, or
// GOROUTINES goroutines.
package many

import (
	"os"
	"strconv"
	"testing"
	"time"
)

func TestMany(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("GOROUTINES"))
	for i := 0; i < n; i++ {
		go func() { <-make(chan int) }()
	}
	for i := 0; i < 200; i++ {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			done := make(chan int)
			go close(done)
			<-done
			time.Sleep(5 * time.Millisecond)
		})
	}
}
