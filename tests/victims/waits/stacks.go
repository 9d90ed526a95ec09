// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime"
)

var never = make(chan int)

// Small enough to be inlined into each other, and the last into its caller.
func leaf3(c chan int) int { return <-c }
func leaf2(c chan int) int { return leaf3(c) + 1 }
func leaf1(c chan int) int { return leaf2(c) * 2 }

func inlined(c chan int) int {
	note("inlined", "chan receive")
	return leaf1(c) - 1
}

func recurse(n int, c chan int) int {
	if n == 0 {
		return <-c
	}
	return recurse(n-1, c) + n
}

func deep(n int) {
	note("deep", "chan receive", "depth", n)
	recurse(n, never)
}

func even(n int, c chan int) int {
	if n == 0 {
		return <-c
	}
	return odd(n-1, c) + 1
}

func odd(n int, c chan int) int {
	return even(n-1, c) - 1
}

// bigFrame needs several stack growths on its way.
func bigFrame(n int) byte {
	var pad [8192]byte
	pad[n] = byte(n)
	if n == 0 {
		<-never
		return pad[0]
	}
	return bigFrame(n-1) + pad[n]
}

type worker struct{ in chan int }

func (w *worker) run() {
	note("method", "chan receive")
	w.wait()
}

func (w *worker) wait() { <-w.in }

type base struct{ in chan int }

func (b base) Serve() {
	note("embedded", "chan receive")
	<-b.in
}

// derived has Serve only by a wrapper that the compiler writes.
type derived struct {
	pad int
	base
}

type server interface{ Serve() }

func viaInterface(s server) { s.Serve() }

func closures() func() {
	x := 1
	return func() {
		y := func() {
			note("closure", "chan receive")
			<-never
			x++
		}
		y()
	}
}

func deferred() {
	defer func() {
		note("defer", "chan receive")
		<-never
	}()
}

func panicking() {
	defer func() {
		note("panicking", "chan receive")
		<-never
		recover()
	}()
	panic("parked while panicking")
}

func faulting(p *payload) {
	defer func() {
		note("faulting", "chan receive")
		<-never
		recover()
	}()
	p.id++
}

func dividing(a, b int) int {
	defer func() {
		note("dividing", "chan receive")
		<-never
		recover()
	}()
	return a / b
}

func recovered() {
	func() {
		defer func() { recover() }()
		panic("over")
	}()
	note("recovered", "chan receive")
	<-never
}

func exiting() {
	defer func() {
		note("goexit", "chan receive")
		<-never
	}()
	runtime.Goexit()
}

func many(a, b, c, d, e, f, g, h, i, j int, s []string, m map[string]int,
	fn func(int) int) (int, error) {
	note("many-arguments", "chan receive")
	<-never
	return a + b + c + d + e + f + g + h + i + j + len(s) + len(m) + fn(1), nil
}

func parentOf(depth int) {
	if depth > 0 {
		go parentOf(depth - 1)
	}
	note("parent", "chan receive", "depth", depth)
	<-never
}

func startStacks() {
	expect(21)
	go inlined(never)
	go deep(12)
	go deep(98)
	go deep(99)
	go deep(100)
	go deep(150)
	go deep(300)
	go func() {
		note("mutual", "chan receive")
		even(20, never)
	}()
	go func() {
		note("big-frames", "chan receive")
		bigFrame(30)
	}()
	w := &worker{never}
	go w.run()
	bound := (&worker{never}).run
	go bound()
	go viaInterface(&derived{base: base{never}})
	go closures()()
	go deferred()
	go panicking()
	go faulting(nil)
	go dividing(1, 0)
	go recovered()
	go exiting()
	go many(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, []string{"x"}, nil,
		func(i int) int { return i })
	go func() {
		func() {
			func() {
				note("nested-closures", "chan receive")
				<-never
			}()
		}()
	}()
	expect(4)
	go parentOf(3)
}
