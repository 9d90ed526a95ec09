// SPDX-License-Identifier: Apache-2.0

package subtests

import (
	"strings"
	"testing"
	"time"
)

func TestPool(t *testing.T) {
	for _, name := range []string{"redial", "resize"} {
		t.Run(name, func(t *testing.T) {
			dial(t.Name())
			hold()
		})
	}
}

func TestTable(t *testing.T) {
	for _, name := range []string{
		"plain", "a b/ü", "tab\there", "same", "same", "", "\xff",
		"世界", strings.Repeat("long", 40),
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan bool)
			go func() {
				say(t.Name())
				close(done)
				<-make(chan int)
			}()
			<-done
			hold()
		})
	}
}

func TestNested(t *testing.T) {
	t.Run("outer", func(t *testing.T) {
		t.Run("inner", func(t *testing.T) {
			t.Run("innermost", func(t *testing.T) {
				dial(t.Name())
				hold()
			})
			dial(t.Name())
			hold()
		})
		dial(t.Name())
		hold()
	})
	dial(t.Name())
	hold()
}

func TestParallel(t *testing.T) {
	for _, name := range []string{"one", "two", "three", "four"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dial(t.Name())
			hold()
		})
	}
}

// The one between the test and what is left behind ends.
func TestGrandchild(t *testing.T) {
	t.Run("of a worker", func(t *testing.T) {
		done := make(chan bool)
		go func() {
			dial(t.Name())
			hold()
			close(done)
		}()
		<-done
	})
}

func TestBusy(t *testing.T) {
	t.Run("spins", func(t *testing.T) {
		dial(t.Name())
		burn()
	})
	t.Run("deep", func(t *testing.T) {
		dial(t.Name())
		deep(1000)
	})
}

func deep(n int) int {
	if n == 0 {
		hold()
		return 0
	}
	return deep(n-1) + 1
}

func TestHang(t *testing.T) {
	t.Run("inner", func(t *testing.T) { time.Sleep(time.Hour) })
}

func BenchmarkPool(b *testing.B) {
	b.Run("redial", func(b *testing.B) {
		dial(b.Name())
		hold()
	})
}
