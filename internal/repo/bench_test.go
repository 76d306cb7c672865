// SPDX-License-Identifier: Apache-2.0

package repo_test

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/tree"
)

// makeMany lays out files of a distribution's shape: most small, some large, text that compresses to about a third.
func makeMany(t testing.TB, dir string, files int, meanBytes int) {
	t.Helper()
	rng := rand.New(rand.NewSource(1))
	words := make([]string, 4000)
	for i := range words {
		words[i] = fmt.Sprintf("%x", rng.Int63n(1<<(8+rng.Intn(30))))
	}
	var text strings.Builder
	for text.Len() < 8<<20 {
		text.WriteString(words[min(rng.Intn(4000), rng.Intn(4000))])
		text.WriteByte(" \n"[rng.Intn(8)/7])
	}
	for i := range files {
		size := int(rng.ExpFloat64() * float64(meanBytes) / 2)
		if i%100 == 0 {
			size = meanBytes * 50
		}
		size = min(size, text.Len()/2)
		at := rng.Intn(text.Len() - size)
		write(t, fmt.Sprintf("%s/d%d/e%d/file%d", dir, i/1000, i/12%84, i), fmt.Sprint(i, "\n")+text.String()[at:at+size], 0o644)
	}
}

// pair times ours and the peer's in turn, twice, and reports the better of each and the ratio.
func pair(b *testing.B, what string, ours, theirs func(dest string)) {
	best := [2]time.Duration{1 << 62, 1 << 62}
	for round := range 3 {
		for i, f := range []func(string){ours, theirs} {
			dest := filepath.Join(b.TempDir(), fmt.Sprint("r", round))
			exec.Command("sync").Run()
			start := time.Now()
			f(dest)
			best[i] = min(best[i], time.Since(start))
			os.RemoveAll(dest)
		}
	}
	b.Logf("%-44s grove %7.3f s, peer %7.3f s: %4.1f times as fast", what, best[0].Seconds(), best[1].Seconds(),
		best[1].Seconds()/best[0].Seconds())
}

func run(b *testing.B, name string, args ...string) {
	b.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// BenchmarkPeers measures against ostree and cp -al on the same tree in one run. GROVE_BENCH_FILES sets how many files,
// and their mean size in bytes after a blank; GROVE_BENCH_DIR names a real tree instead; GROVE_BENCH_ONLY the kinds of
// work.
func BenchmarkPeers(b *testing.B) {
	needOSTree(b)
	needRoot(b)
	files, mean := 12_000, 24<<10
	if v := os.Getenv("GROVE_BENCH_FILES"); v != "" {
		fmt.Sscan(v, &files, &mean)
	}
	dir := os.Getenv("GROVE_BENCH_DIR")
	if dir == "" {
		dir = filepath.Join(b.TempDir(), "tree")
		makeMany(b, dir, files, mean)
	}
	only := os.Getenv("GROVE_BENCH_ONLY")
	ctx := context.Background()
	bare, err := repo.Init(filepath.Join(b.TempDir(), "bare"), repo.Bare)
	ok(b, err)
	c := commitDir(b, bare, dir, "x", repo.CommitTreeOptions{})
	v, err := bare.Commit(c)
	ok(b, err)
	root := tree.Root{Tree: v.Tree, Meta: v.Meta}
	for what, f := range map[string]func(){
		"commit": func() {
			pair(b, "commit into bare", func(dest string) {
				r, err := repo.Init(dest, repo.Bare)
				ok(b, err)
				commitDir(b, r, dir, "x", repo.CommitTreeOptions{})
			}, func(dest string) {
				run(b, "ostree", "--repo="+dest, "init", "--mode=bare")
				run(b, "ostree", "--repo="+dest, "commit", "-b", "x", "--tree=dir="+dir)
			})
		},
		"again": func() {
			pair(b, "commit again, nothing changed", func(string) {
				commitDir(b, bare, dir, "y", repo.CommitTreeOptions{})
			}, func(string) {
				run(b, "ostree", "--repo="+bare.Path(), "commit", "-b", "y", "--tree=dir="+dir)
			})
		},
		"checkout": func() {
			pair(b, "checkout with hard links, against ostree", func(dest string) {
				ok(b, open(b, bare.Path()).Checkout(ctx, root, dest, repo.CheckoutOptions{NoSync: true}))
			}, func(dest string) {
				run(b, "ostree", "--repo="+bare.Path(), "checkout", "-H", "x", dest)
			})
			from := filepath.Join(b.TempDir(), "from")
			ok(b, bare.Checkout(ctx, root, from, repo.CheckoutOptions{}))
			pair(b, "checkout with hard links, against cp -al", func(dest string) {
				ok(b, open(b, bare.Path()).Checkout(ctx, root, dest, repo.CheckoutOptions{NoSync: true}))
			}, func(dest string) { run(b, "cp", "-al", from, dest) })
		},
		"archive": func() {
			pair(b, "pull-local into archive", func(dest string) {
				r, err := repo.Init(dest, repo.Archive)
				ok(b, err)
				ok(b, pullLocal(r, open(b, bare.Path()), []string{"x"}, pull.Options{}))
			}, func(dest string) {
				run(b, "ostree", "--repo="+dest, "init", "--mode=archive")
				run(b, "ostree", "--repo="+dest, "pull-local", bare.Path(), "x")
			})
		},
		"fsck": func() {
			pair(b, "fsck", func(string) {
				_, err := open(b, bare.Path()).Fsck(ctx, repo.FsckOptions{})
				ok(b, err)
			}, func(string) { run(b, "ostree", "--repo="+bare.Path(), "fsck", "-q") })
		},
	} {
		if only == "" || strings.Contains(only, what) {
			f()
		}
	}
}
