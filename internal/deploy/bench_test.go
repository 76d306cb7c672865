// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"grove/internal/deploy"
	"grove/internal/repo"
)

// BenchmarkFinish completes a deployment whose /etc has 2,000 files, 40 of them changed by the default; the checkout is not timed.
func BenchmarkFinish(b *testing.B) {
	ctx := context.Background()
	s, err := deploy.Open(b.TempDir(), deploy.Options{AsRoot: os.Geteuid() == 0})
	if err != nil {
		b.Skip(err)
	}
	trees := [2]files{{}, {}}
	for i := range 2000 {
		p := fmt.Sprintf("usr/etc/d%02d/f%d", i%50, i)
		trees[0][p], trees[1][p] = "content", "content"
		if i%50 == 0 {
			trees[1][p] = "changed"
		}
	}
	c0, r0 := commit(b, s.Repo(), trees[0])
	c1, r1 := commit(b, s.Repo(), trees[1])
	g, err := s.NewGuest(ctx, "web")
	if err != nil {
		b.Fatal(err)
	}
	if _, _, err := build(g, s, c0, r0, deploy.Final{}); err != nil {
		b.Fatal(err)
	}
	first := mustDeployment(b, g, 1)
	for b.Loop() {
		b.StopTimer()
		st, err := g.Stage(ctx)
		if err == nil {
			err = s.Repo().Checkout(ctx, r1, st.Root(), repo.CheckoutOptions{UserMode: os.Geteuid() != 0})
		}
		b.StartTimer()
		if err == nil {
			_, err = st.Finish(ctx, deploy.Final{Commit: c1, Manifest: []byte("x"), Lock: []byte("{}"), MergeFrom: first})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
