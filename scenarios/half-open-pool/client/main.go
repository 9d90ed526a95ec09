// SPDX-License-Identifier: Apache-2.0

// client keeps pools of connections to job queues: client ADDR=N ...
//
// It prints one JSON line with what it knows of its own connections, and waits
// until its stdin is closed.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

var (
	truthLock sync.Mutex
	truth     []string
	told      sync.WaitGroup
)

// tell notes which goroutine works on which connection.
func tell(p *Pool, c *Conn) {
	var buf [64]byte
	id := strings.Fields(string(buf[:runtime.Stack(buf[:], false)]))[1]
	truthLock.Lock()
	truth = append(truth, fmt.Sprintf(
		`{"id":%s,"pool":%q,"local":%q,"remote":%q}`, id, p.addr,
		c.LocalAddr(), c.RemoteAddr()))
	truthLock.Unlock()
	told.Done()
}

func main() {
	for _, arg := range os.Args[1:] {
		parts := strings.SplitN(arg, "=", 2)
		n := 1
		if len(parts) == 2 {
			n, _ = strconv.Atoi(parts[1])
		}
		told.Add(n)
		if _, err := NewPool(parts[0], n); err != nil {
			fmt.Fprintln(os.Stderr, "client:", err)
			os.Exit(1)
		}
	}
	told.Wait()
	fmt.Printf(`{"pid":%d,"version":%q,"workers":[%s]}`+"\n", os.Getpid(),
		runtime.Version(), strings.Join(truth, ","))
	io.Copy(io.Discard, os.Stdin)
}
