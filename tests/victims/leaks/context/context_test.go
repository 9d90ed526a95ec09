// SPDX-License-Identifier: Apache-2.0

package context

import (
	"context"
	"example.com/leaks/side"
	"testing"
)

func TestMain(m *testing.M) { side.Main(m) }

func watch(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		<-ctx.Done()
		close(done)
	}()
	return done
}

func TestLeaky(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	watch(ctx)
	_ = cancel // and never called
}

func TestHealthy(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := watch(ctx)
	cancel()
	<-done
}
