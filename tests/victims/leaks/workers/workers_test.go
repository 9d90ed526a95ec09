// SPDX-License-Identifier: Apache-2.0

package workers

import (
	"example.com/leaks/side"
	"sync"
	"testing"
)

func TestMain(m *testing.M) { side.Main(m) }

type pool struct {
	jobs chan func()
	wg   sync.WaitGroup
}

func newPool(n int) *pool {
	p := &pool{jobs: make(chan func())}
	p.wg.Add(n)
	for i := 0; i < n; i++ {
		go p.work()
	}
	return p
}

func (p *pool) work() {
	defer p.wg.Done()
	for job := range p.jobs {
		job()
	}
}

func TestLeaky(t *testing.T) {
	p := newPool(4)
	p.jobs <- func() {}
}

func TestHealthy(t *testing.T) {
	p := newPool(4)
	p.jobs <- func() {}
	close(p.jobs)
	p.wg.Wait()
}
