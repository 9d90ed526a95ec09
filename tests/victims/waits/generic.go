// SPDX-License-Identifier: Apache-2.0

//go:build go1.18
// +build go1.18

package main

type queue[T any] struct{ c chan T }

func (q *queue[T]) take() T {
	note("generic-method", "chan receive")
	return <-q.c
}

type number interface{ ~int | ~float64 }

func sum[K comparable, V number](m map[K]V, c chan V) V {
	note("generic-func", "chan receive")
	var s V
	for _, v := range m {
		s += v
	}
	return s + <-c
}

func each[T any](list []T, f func(T)) {
	for _, v := range list {
		f(v)
	}
}

func startGeneric() {
	expect(4)
	go (&queue[payload]{make(chan payload)}).take()
	go (&queue[string]{make(chan string)}).take()
	go sum(map[string]float64{"a": 1}, make(chan float64))
	go each([]int{1, 2}, func(int) {
		note("generic-closure", "chan receive")
		<-never
	})
}
