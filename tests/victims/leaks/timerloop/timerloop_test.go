// SPDX-License-Identifier: Apache-2.0

package timerloop

import (
	"example.com/leaks/side"
	"sync/atomic"
	"testing"
	"time"
)

func TestMain(m *testing.M) { side.Main(m) }

type loop struct {
	stop int32
	done chan struct{}
}

func start() *loop {
	l := &loop{done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for atomic.LoadInt32(&l.stop) == 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return l
}

func TestLeaky(t *testing.T) { start() }

// Slow to end, but it ends: what the time of grace is for.
func TestHealthy(t *testing.T) {
	l := start()
	go func() {
		time.Sleep(50 * time.Millisecond)
		atomic.StoreInt32(&l.stop, 1)
	}()
}
