// SPDX-License-Identifier: Apache-2.0

package ticker

import (
	"example.com/leaks/side"
	"testing"
	"time"
)

func TestMain(m *testing.M) { side.Main(m) }

type poller struct {
	tick *time.Ticker
	stop chan struct{}
}

func start() *poller {
	p := &poller{time.NewTicker(time.Hour), make(chan struct{})}
	go p.run()
	return p
}

func (p *poller) run() {
	for {
		select {
		case <-p.tick.C:
		case <-p.stop:
			return
		}
	}
}

func TestLeaky(t *testing.T) { start() }

func TestHealthy(t *testing.T) {
	p := start()
	p.tick.Stop()
	close(p.stop)
}
