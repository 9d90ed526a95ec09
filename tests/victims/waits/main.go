// SPDX-License-Identifier: Apache-2.0

// waits parks one goroutine in every kind of wait, says what it knows of each
// in one JSON line, and prints its own goroutine dump when asked.
//
// Commands, one a line on stdin:
//
//	dump FILE     write pprof's debug=2 text of all goroutines to FILE
//	stack FILE    the same by runtime.Stack, which counts no minutes apart
//	gc            run the garbage collector twice; prints the time it took
//	spin N        start N goroutines that never park
//	nospin        end them
//	park N        add N goroutines that wait on channels; prints the truth
//	churn N       create and end N goroutines a second
//	created       print how many have been created since churn
//	calm          end the churn
//	quit          end
//
// Each is answered by one line on stdout.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

var (
	truthLock sync.Mutex
	truth     []string
	expected  int32
	noted     int32
	spinning  int32
)

// expect announces n more goroutines that will call note.
func expect(n int32) { atomic.AddInt32(&expected, n) }

// goid of the caller, as the runtime prints it.
func goid() int64 {
	var buf [64]byte
	text := string(buf[:runtime.Stack(buf[:], false)])
	text = strings.TrimPrefix(text, "goroutine ")
	id, err := strconv.ParseInt(text[:strings.IndexByte(text, ' ')], 10, 64)
	if err != nil {
		panic(err)
	}
	return id
}

// raw is JSON already.
type raw string

func field(b *strings.Builder, v interface{}) {
	switch v := v.(type) {
	case string:
		b.WriteString(strconv.Quote(v))
	case uintptr:
		fmt.Fprintf(b, `"0x%x"`, v)
	default:
		fmt.Fprint(b, v)
	}
}

// note tells what the calling goroutine is about to wait for. kind is the name
// of the wait; pairs are further JSON keys and values.
func note(name, kind string, pairs ...interface{}) {
	var b strings.Builder
	fmt.Fprintf(&b, `{"id":%d,"name":%q,"kind":%q`, goid(), name, kind)
	for i := 0; i+1 < len(pairs); i += 2 {
		fmt.Fprintf(&b, ",%q:", pairs[i])
		field(&b, pairs[i+1])
	}
	b.WriteString("}")
	truthLock.Lock()
	truth = append(truth, b.String())
	truthLock.Unlock()
	atomic.AddInt32(&noted, 1)
}

// channel describes one side of a channel for note.
func channel(addr uintptr, send bool, length, capacity int, elem string) raw {
	return raw(fmt.Sprintf(`{"kind":"chan","addr":"0x%x","send":%v,`+
		`"length":%d,"capacity":%d,"element_type":%q}`,
		addr, send, length, capacity, elem))
}

// chanAddr is the address of the runtime's record behind a channel variable.
func chanAddr(p unsafe.Pointer) uintptr { return *(*uintptr)(p) }

// monotonic is CLOCK_MONOTONIC in nanoseconds, the clock of deadlines.
func monotonic() int64 {
	var ts syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 1,
		uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func settle() {
	for i := 0; i < 500; i++ {
		if atomic.LoadInt32(&noted) >= atomic.LoadInt32(&expected) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond)
}

func printTruth() {
	truthLock.Lock()
	defer truthLock.Unlock()
	complete := atomic.LoadInt32(&noted) == atomic.LoadInt32(&expected)
	fmt.Printf(`{"pid":%d,"version":%q,"complete":%v,"goroutines":[%s]}`+"\n",
		os.Getpid(), runtime.Version(), complete,
		strings.Join(truth, ","))
}

func dump(path string, write func(io.Writer)) {
	f, err := os.Create(path + ".new")
	must(err)
	write(f)
	must(f.Close())
	must(os.Rename(path+".new", path))
	fmt.Println("dumped", path)
}

func spin() {
	for n := 0; atomic.LoadInt32(&spinning) != 0; n++ {
		if n%1024 == 0 {
			runtime.Gosched()
		}
	}
}

// control answers commands. It reads stdin through the blocking system call.
func control(done chan<- struct{}) {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		words := strings.Fields(in.Text())
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "dump":
			dump(words[1], func(w io.Writer) {
				pprof.Lookup("goroutine").WriteTo(w, 2)
			})
		case "stack":
			dump(words[1], func(w io.Writer) {
				buf := make([]byte, 16<<20)
				w.Write(buf[:runtime.Stack(buf, true)])
			})
		case "gc":
			begin := monotonic()
			runtime.GC()
			runtime.GC()
			fmt.Println("gc", begin, monotonic())
		case "spin":
			n, err := strconv.Atoi(words[1])
			must(err)
			atomic.StoreInt32(&spinning, 1)
			for i := 0; i < n; i++ {
				go spin()
			}
			fmt.Println("spinning", n)
		case "nospin":
			atomic.StoreInt32(&spinning, 0)
			fmt.Println("not spinning")
		case "park":
			n, err := strconv.Atoi(words[1])
			must(err)
			park(n)
			printTruth()
		case "churn":
			n, err := strconv.Atoi(words[1])
			must(err)
			startChurn(n)
			fmt.Println("churning", n)
		case "created":
			fmt.Println("created", atomic.LoadInt64(&created))
		case "calm":
			atomic.StoreInt32(&churning, 0)
			fmt.Println("calm")
		case "quit":
			close(done)
			return
		}
	}
	close(done)
}

func main() {
	done := make(chan struct{})
	startNet()
	startSync()
	startStacks()
	startGeneric()
	startIter()
	startCgo()
	expect(1)
	note("main", "chan receive", "objects",
		raw("["+string(channel(chanAddr(unsafe.Pointer(&done)), false,
			0, 0, "struct {}"))+"]"), "parent", 0)
	settle()
	printTruth()
	go control(done)
	<-done
}
