// SPDX-License-Identifier: Apache-2.0

package pull_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"testing"

	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/serve"
)

// benchTree makes 12,000 files, 290 MB, about half of it compressible, in 600 folders.
func benchTree(b *testing.B) map[string]string {
	b.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	words := make([]byte, 1<<20)
	for i := range words {
		words[i] = "abcdefghijklmnop\x00\x01\xff\x48\x89 "[rnd.IntN(22)]
	}
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	files := map[string]string{}
	for i := range 12000 {
		size := 200 + rnd.IntN(6000)
		if i%20 == 0 {
			size = 100_000 + rnd.IntN(600_000)
		}
		half := size / 4
		a, c := rnd.IntN(len(words)-size), rnd.IntN(len(noise)-half)
		files[fmt.Sprintf("usr/d%d/f%d", i%600, i)] = string(words[a:a+size-half]) + string(noise[c:c+half])
	}
	return files
}

// BenchmarkPull pulls the same commit from the same server, with grove and with ostree, into bare and archive repositories.
func BenchmarkPull(b *testing.B) {
	src := initRepo(b, repo.Archive)
	files := benchTree(b)
	var total int64
	for _, f := range files {
		total += int64(len(f))
	}
	sum := commit(b, src, change{ref: "main", files: files})
	s := httptest.NewServer(serve.Handler(src))
	defer s.Close()
	for _, mode := range modes() {
		fresh := func(b *testing.B) string {
			path := filepath.Join(b.TempDir(), "repo")
			r, err := repo.Init(path, mode)
			if err != nil {
				b.Fatal(err)
			}
			addRemote(b, r, s.URL, nil)
			r.Close()
			return path
		}
		b.Run(mode.String()+"/grove", func(b *testing.B) {
			b.SetBytes(total)
			for b.Loop() {
				r, err := repo.Open(fresh(b))
				if err != nil {
					b.Fatal(err)
				}
				res, err := pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{})
				if err != nil || res.Commits["main"] != sum {
					b.Fatal(err)
				}
				b.ReportMetric(float64(res.ObjectsFetched), "objects")
			}
		})
		b.Run(mode.String()+"/ostree", func(b *testing.B) {
			if _, err := exec.LookPath("ostree"); err != nil {
				b.Skip("needs ostree")
			}
			b.SetBytes(total)
			for b.Loop() {
				cmd := exec.Command("ostree", "--repo="+fresh(b), "pull", "up", "main")
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v %s", err, out)
				}
			}
		})
	}
}
