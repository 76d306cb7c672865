// SPDX-License-Identifier: Apache-2.0

package delta_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/delta"
	"grove/internal/durable"
	"grove/internal/ostree"
	"grove/internal/repo"
)

// tinyWorld has two commits of a few small files, for loops.
func tinyWorld(t testing.TB) world {
	t.Helper()
	dir := t.TempDir()
	for i, d := range []string{dir + "/before", dir + "/after"} {
		write(t, d+"/same", []byte("the same"), 0o644)
		write(t, d+"/notes", fmt.Appendf(nil, "version %d", i), 0o600)
		text := bytes.Repeat([]byte("some bytes that are there in both. "), 20)
		copy(text[100*i:], "but not these")
		write(t, d+"/text", text, 0o644)
		ok(t, os.Symlink(fmt.Sprint(i), d+"/link"))
	}
	r := initRepo(t, repo.Archive)
	return world{r, commitDir(t, r, dir+"/before", "x", 1000), commitDir(t, r, dir+"/after", "x", 2000)}
}

// tinyDelta makes a delta of it in a folder of its own and returns its files.
func tinyDelta(t testing.TB, w world, inline bool) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	generate(t, w, ostree.DeltaName{From: w.before, To: w.after}, delta.GenerateOptions{MinFallbackBytes: -1, Inline: inline, Filename: dir + "/superblock"})
	files := map[string][]byte{}
	ents, err := os.ReadDir(dir)
	ok(t, err)
	for _, e := range ents {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		ok(t, err)
		files[e.Name()] = data
	}
	return files
}

// land applies a delta made of files and demands that it lands whole or not at all.
func land(t testing.TB, w world, files map[string][]byte, what string) error {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		ok(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	r := w.clone(t, repo.BareUser, w.before)
	c, err := delta.Apply(context.Background(), r, dir, delta.ApplyOptions{})
	if err == nil && c != w.after {
		t.Errorf("%s: landed as %s", what, c)
	}
	if has := r.Has(ostree.TypeCommit, w.after); has != (err == nil) {
		t.Errorf("%s: %v, and the commit is there: %v", what, err, has)
	}
	if cerr := r.Check(context.Background()); cerr != nil {
		t.Errorf("%s: %v", what, cerr)
	}
	if err != nil && (strings.Contains(err.Error(), "\n") || len(err.Error()) > 600) {
		t.Errorf("%s: not one clear line: %v", what, err)
	}
	return err
}

func with(files map[string][]byte, name string, data []byte) map[string][]byte {
	out := map[string][]byte{}
	for n, d := range files {
		out[n] = d
	}
	if out[name] = data; data == nil {
		delete(out, name)
	}
	return out
}

// A delta in which anything is changed fails, or does what it should.
func TestDamagedDeltas(t *testing.T) {
	w := tinyWorld(t)
	for _, inline := range []bool{false, true} {
		files := tinyDelta(t, w, inline)
		ok(t, land(t, w, files, "as it is"))
		for name, data := range files {
			failed, tries := 0, 0
			for i := 0; i < len(data); i += 1 + len(data)/25 {
				bent := bytes.Clone(data)
				bent[i] ^= 1 << (i % 8)
				tries++
				if err := land(t, w, with(files, name, bent), fmt.Sprintf("%s, byte %d", name, i)); err != nil {
					failed++
				}
			}
			if failed < tries*2/3 { // some bytes say nothing: the timestamp, the size of what is made
				t.Errorf("%s: only %d of %d changes were found", name, failed, tries)
			}
			for _, cut := range []int{0, 1, len(data) / 2, len(data) - 1} {
				if err := land(t, w, with(files, name, data[:cut]), fmt.Sprintf("%s cut at %d", name, cut)); !errors.Is(err, ostree.ErrCorrupt) {
					t.Errorf("%s cut at %d: %v", name, cut, err)
				}
			}
			if err := land(t, w, with(files, name, nil), name+" is gone"); err == nil {
				t.Errorf("%s is gone, and nobody noticed", name)
			}
		}
	}
}

// Each durable step of writing a delta and its index fails in turn: readers see the old delta or the new one, and nothing else lies about.
func TestEachStepOfWritingFailing(t *testing.T) {
	defer durable.SetHook(nil)
	w := tinyWorld(t)
	ok(t, w.r.Config().Set("core", "fsync", "true"))
	ok(t, w.r.Config().Save())
	w.r = open(t, w.r.Path())
	n := ostree.DeltaName{From: w.before, To: w.after}
	generate(t, w, n, delta.GenerateOptions{MinFallbackBytes: -1})
	before, err := w.r.DeltaDigest(n)
	ok(t, err)
	var after ostree.Checksum
	for step := int64(1); ; step++ {
		first, fired := durable.Steps(), false
		durable.SetHook(func(s int64, op, path string) error {
			if s == first+step {
				fired = true
				return errors.New("injected")
			}
			return nil
		})
		ctx := context.Background()
		_, err := delta.Generate(ctx, w.r, n, delta.GenerateOptions{MinFallbackBytes: -1, Order: delta.BigEndian})
		if err == nil {
			err = w.r.ReindexDeltas(ctx, nil)
		}
		durable.SetHook(nil)
		now, derr := w.r.DeltaDigest(n)
		ok(t, derr)
		if !fired {
			ok(t, err)
			if step < 6 || now == before {
				t.Fatalf("only %d steps, or it did nothing", step)
			}
			return
		}
		if err == nil || !strings.Contains(err.Error(), "injected") {
			t.Fatalf("step %d: %v", step, err)
		}
		if after.IsZero() && now != before {
			after = now
		}
		if now != before && now != after {
			t.Fatalf("step %d: neither the old nor the new delta", step)
		}
		check(t, w.r)
		if ents, _ := os.ReadDir(w.r.Path() + "/tmp"); len(ents) > 1 {
			t.Fatalf("step %d: left %v", step, ents)
		}
		generate(t, w, n, delta.GenerateOptions{MinFallbackBytes: -1})
		ok(t, os.RemoveAll(w.r.Path()+"/delta-indexes"))
	}
}

// Each durable step of applying fails in turn: the commit is there whole or not at all.
func TestEachStepOfApplyingFailing(t *testing.T) {
	defer durable.SetHook(nil)
	w := tinyWorld(t)
	dir := t.TempDir()
	generate(t, w, ostree.DeltaName{From: w.before, To: w.after}, delta.GenerateOptions{MinFallbackBytes: -1, Filename: dir + "/superblock"})
	for step := int64(1); ; step++ {
		r := w.clone(t, repo.BareUser, w.before)
		ok(t, r.Config().Set("core", "fsync", "true"))
		ok(t, r.Config().Save())
		r = open(t, r.Path())
		first, fired := durable.Steps(), false
		durable.SetHook(func(s int64, op, path string) error {
			if s == first+step {
				fired = true
				return errors.New("injected")
			}
			return nil
		})
		_, err := delta.Apply(context.Background(), r, dir, delta.ApplyOptions{})
		durable.SetHook(nil)
		check(t, r)
		if !fired {
			ok(t, err)
			if step < 6 {
				t.Fatalf("only %d steps", step)
			}
			return
		}
		if err == nil {
			t.Fatalf("step %d: no error", step)
		}
		if _, err := delta.Apply(context.Background(), r, dir, delta.ApplyOptions{}); err != nil {
			t.Fatalf("step %d, again: %v", step, err)
		}
		check(t, r)
	}
}

func FuzzSuperblock(f *testing.F) {
	w := tinyWorld(f)
	f.Add(tinyDelta(f, w, false)["superblock"])
	f.Add(tinyDelta(f, w, true)["superblock"])
	mine, _ := signers(f, 1)
	file := filepath.Join(f.TempDir(), "signed")
	generate(f, w, ostree.DeltaName{To: w.after}, delta.GenerateOptions{Signers: mine, Filename: file})
	signed, err := os.ReadFile(file)
	ok(f, err)
	f.Add(signed)
	f.Fuzz(func(t *testing.T, data []byte) {
		sb, err := delta.Read(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			if !errors.Is(err, ostree.ErrCorrupt) {
				t.Fatalf("not called corrupt: %v", err)
			}
			return
		}
		for _, p := range sb.Parts {
			for i := range p.Objects.Len() {
				_ = p.Objects.At(i).String()
			}
		}
	})
}
