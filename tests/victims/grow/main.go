// SPDX-License-Identifier: Apache-2.0

// Grow creates goroutines at three places: some that never end, some that end
// after a while, some that end at once. Its own counts answer each line.
package main

import (
	"bufio"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

var leaked, served int64

func leak() { select {} }

func serve() {
	time.Sleep(700 * time.Millisecond)
	atomic.AddInt64(&served, 1)
}

func main() {
	fmt.Println("{}")
	go func() {
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			fmt.Printf("{\"leaked\":%d,\"served\":%d}\n",
				atomic.LoadInt64(&leaked),
				atomic.LoadInt64(&served))
		}
		os.Exit(0)
	}()
	for i := 0; ; i++ {
		if i%4 == 0 {
			go leak()
			atomic.AddInt64(&leaked, 1)
		}
		go serve()
		go func() {}()
		time.Sleep(25 * time.Millisecond)
	}
}
