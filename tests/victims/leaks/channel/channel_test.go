// SPDX-License-Identifier: Apache-2.0

package channel

import (
	"example.com/leaks/side"
	"testing"
	"time"
)

func TestMain(m *testing.M) { side.Main(m) }

func ask(answers chan string) string {
	go func() {
		time.Sleep(20 * time.Millisecond)
		answers <- "late"
	}()
	select {
	case a := <-answers:
		return a
	case <-time.After(time.Millisecond):
		return ""
	}
}

// Nobody reads any more when the answer comes.
func TestLeaky(t *testing.T) { ask(make(chan string)) }

func TestHealthy(t *testing.T) { ask(make(chan string, 1)) }
