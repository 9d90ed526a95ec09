// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

type payload struct {
	id   int
	text string
}

func objects(list ...raw) raw {
	texts := make([]string, len(list))
	for i := range list {
		texts[i] = string(list[i])
	}
	return raw("[" + strings.Join(texts, ",") + "]")
}

func object(kind string, p unsafe.Pointer) raw {
	return raw(fmt.Sprintf(`{"kind":%q,"addr":"0x%x"}`, kind, uintptr(p)))
}

func sendUnbuffered(c chan int) {
	note("chan-send", "chan send", "objects", objects(channel(
		chanAddr(unsafe.Pointer(&c)), true, 0, 0, "int")))
	c <- 1
}

func sendFull(c chan payload) {
	note("chan-send-full", "chan send", "objects", objects(channel(
		chanAddr(unsafe.Pointer(&c)), true, 4, 4, "main.payload")))
	c <- payload{}
}

func recvInt(c <-chan int) {
	note("chan-recv", "chan receive", "objects", objects(channel(
		chanAddr(unsafe.Pointer(&c)), false, 0, 0, "int")))
	<-c
}

func recvRange(c chan *payload) {
	note("chan-range", "chan receive", "objects", objects(channel(
		chanAddr(unsafe.Pointer(&c)), false, 0, 8, "*main.payload")))
	for range c {
	}
}

func sendNil() {
	note("chan-send-nil", "forever")
	var c chan int
	c <- 1
}

func recvNil() {
	note("chan-recv-nil", "forever")
	var c chan string
	<-c
}

func selectNone() {
	note("select-none", "forever")
	select {}
}

func selectTwo(in chan string, out chan payload) {
	note("select-two", "select", "objects", objects(
		channel(chanAddr(unsafe.Pointer(&in)), false, 0, 0, "string"),
		channel(chanAddr(unsafe.Pointer(&out)), true, 0, 0,
			"main.payload")))
	select {
	case <-in:
	case out <- payload{}:
	}
}

// selectMany has more cases than fit in a register, one of them nil.
func selectMany(c [12]chan int) {
	var none chan int
	var list []raw
	for i := range c {
		list = append(list, channel(chanAddr(unsafe.Pointer(&c[i])),
			i%2 == 1, 0, 0, "int"))
	}
	note("select-many", "select", "objects", objects(list...))
	select {
	case <-c[0]:
	case c[1] <- 1:
	case <-c[2]:
	case c[3] <- 3:
	case <-c[4]:
	case c[5] <- 5:
	case <-c[6]:
	case c[7] <- 7:
	case <-c[8]:
	case c[9] <- 9:
	case <-c[10]:
	case c[11] <- 11:
	case <-none:
	}
}

func selectTimeout(ctx context.Context, in chan bool) {
	note("select-timeout", "select")
	select {
	case <-in:
	case <-ctx.Done():
	case <-time.After(time.Hour):
	}
}

func lockMutex(mu *sync.Mutex) {
	note("mutex", "mutex", "objects",
		objects(object("mutex", unsafe.Pointer(mu))))
	mu.Lock()
}

func lockWriter(mu *sync.RWMutex) {
	note("rwmutex-lock", "rwmutex", "objects",
		objects(object("rwmutex", unsafe.Pointer(mu))))
	mu.Lock()
}

func lockReader(mu *sync.RWMutex) {
	note("rwmutex-rlock", "rwmutex", "objects",
		objects(object("rwmutex", unsafe.Pointer(mu))))
	mu.RLock()
}

func waitGroup(wg *sync.WaitGroup) {
	note("waitgroup", "waitgroup", "objects",
		objects(object("waitgroup", unsafe.Pointer(wg))))
	wg.Wait()
}

func waitCond(c *sync.Cond) {
	c.L.Lock()
	note("cond", "cond")
	c.Wait()
}

func once(o *sync.Once) {
	note("once", "mutex")
	o.Do(func() {})
}

func sleeper() {
	note("sleep", "sleep")
	time.Sleep(time.Hour)
}

func timerReader() {
	note("timer", "chan receive")
	<-time.NewTimer(time.Hour).C
}

func tickerReader() {
	note("ticker", "chan receive")
	for range time.NewTicker(time.Hour).C {
	}
}

func locked(c chan int) {
	runtime.LockOSThread()
	note("locked", "chan receive", "locked", true)
	<-c
}

func labelled(c chan int) {
	labels := pprof.Labels("path", "/x y", "tenant", "t\"1")
	pprof.Do(context.Background(), labels, func(context.Context) {
		note("labels", "chan receive", "labels",
			raw(`{"path":"/x y","tenant":"t\"1"}`))
		go inheritsLabels(c)
		<-c
	})
}

func inheritsLabels(c chan int) {
	note("labels-inherited", "chan receive", "labels",
		raw(`{"path":"/x y","tenant":"t\"1"}`))
	<-c
}

func afterFunc(c chan int) {
	expect(1)
	time.AfterFunc(time.Millisecond, func() {
		note("afterfunc", "chan receive")
		<-c
	})
}

// finalized parks the runtime's finalizer goroutine in the program's code.
func finalized(c chan int) {
	expect(1)
	done := make(chan bool)
	func() {
		p := &payload{text: "end"}
		runtime.SetFinalizer(p, func(*payload) {
			note("finalizer", "chan receive")
			close(done)
			<-c
		})
	}()
	for i := 0; i < 200; i++ {
		runtime.GC()
		select {
		case <-done:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func startSync() {
	never := make(chan int)
	expect(25)
	go sendUnbuffered(make(chan int))
	full := make(chan payload, 4)
	for i := 0; i < 4; i++ {
		full <- payload{id: i}
	}
	go sendFull(full)
	go recvInt(make(chan int))
	go recvRange(make(chan *payload, 8))
	go sendNil()
	go recvNil()
	go selectNone()
	go selectTwo(make(chan string), make(chan payload))
	var many [12]chan int
	for i := range many {
		many[i] = make(chan int)
	}
	go selectMany(many)
	ctx, cancel := context.WithCancel(context.Background())
	keep = append(keep, cancel)
	go selectTimeout(ctx, make(chan bool))

	mu := new(sync.Mutex)
	mu.Lock()
	go lockMutex(mu)
	go lockMutex(mu)
	rw := new(sync.RWMutex)
	rw.RLock()
	go lockWriter(rw)
	time.Sleep(100 * time.Millisecond) // so that it comes before the reader
	go lockReader(rw)
	held := new(sync.RWMutex)
	held.Lock()
	go lockReader(held)
	wg := new(sync.WaitGroup)
	wg.Add(1)
	go waitGroup(wg)
	go waitGroup(wg)
	go waitCond(sync.NewCond(new(sync.Mutex)))
	o := new(sync.Once)
	go o.Do(func() {
		note("once-holder", "forever")
		select {}
	})
	time.Sleep(50 * time.Millisecond)
	go once(o)

	go sleeper()
	go timerReader()
	go tickerReader()
	go locked(never)
	expect(1)
	go labelled(never)
	afterFunc(never)
	finalized(never)

	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGUSR2)
	expect(1)
	go func() {
		note("signal", "chan receive", "objects", objects(channel(
			chanAddr(unsafe.Pointer(&sig)), false, 0, 1,
			"os.Signal")))
		<-sig
	}()
}
