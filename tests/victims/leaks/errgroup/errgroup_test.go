// SPDX-License-Identifier: Apache-2.0

package errgroup

import (
	"context"
	"errors"
	"example.com/leaks/side"
	"golang.org/x/sync/errgroup"
	"testing"
)

func TestMain(m *testing.M) { side.Main(m) }

var errEarly = errors.New("early")

func both(wait func(ctx context.Context)) *errgroup.Group {
	g, ctx := errgroup.WithContext(context.Background())
	g.Go(func() error { return errEarly })
	g.Go(func() error {
		wait(ctx)
		return nil
	})
	return g
}

// It returns at the first error and leaves the other one where it is.
func TestLeaky(t *testing.T) {
	both(func(context.Context) { <-make(chan int) })
}

func TestHealthy(t *testing.T) {
	g := both(func(ctx context.Context) { <-ctx.Done() })
	if g.Wait() != errEarly {
		t.Fatal("no error")
	}
}
