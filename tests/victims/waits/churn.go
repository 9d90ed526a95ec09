// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"
	"sync/atomic"
	"time"
)

var (
	churning int32
	created  int64
)

func shortLived(n int, wg *sync.WaitGroup) {
	if n%7 == 0 {
		recurse(n%20, closed)
	}
	wg.Done()
}

var closed = func() chan int {
	c := make(chan int)
	close(c)
	return c
}()

// spawn makes goroutines that end at once, rate a second.
func spawn(rate int) {
	begin := time.Now()
	for made := 0; atomic.LoadInt32(&churning) != 0; {
		due := int(time.Since(begin).Seconds() * float64(rate))
		if due-made > rate/10 {
			begin, made, due = time.Now(), 0, 0 // too slow: no debts
		}
		var wg sync.WaitGroup
		for ; made < due; made++ {
			wg.Add(1)
			go shortLived(made, &wg)
			atomic.AddInt64(&created, 1)
		}
		wg.Wait()
		time.Sleep(time.Millisecond)
	}
}

func parked(i int, c chan int) {
	note("parked", "chan receive", "depth", i%40)
	recurse(i%40, c)
}

// park adds n goroutines that wait on channels, in stacks of many depths.
func park(n int) {
	expect(int32(n))
	for i := 0; i < n; i++ {
		go parked(i, make(chan int))
	}
	settle()
}

// startChurn shares rate among 100 spawners and has the garbage collector run
// all the time, so that stacks are moved and shrunk.
func startChurn(rate int) {
	atomic.StoreInt32(&churning, 1)
	atomic.StoreInt64(&created, 0)
	for i := 0; i < 100; i++ {
		go spawn(rate / 100)
	}
	go func() {
		var garbage [][]byte
		for atomic.LoadInt32(&churning) != 0 {
			garbage = append(garbage[:len(garbage)%64],
				make([]byte, 256<<10))
			time.Sleep(time.Millisecond)
		}
	}()
}
