// SPDX-License-Identifier: Apache-2.0

package pull_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/durable"
	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/serve"
)

// Each durable step of a pull over HTTP fails in turn: the repository is sound, its refs and summary are old or new, and the
// next pull comes through.
func TestEachStepOfPullFailing(t *testing.T) {
	defer durable.SetHook(nil)
	src := initRepo(t, repo.Archive)
	one := commit(t, src, change{ref: "main", files: map[string]string{"a": "1", "d/b": "1"}})
	two := commit(t, src, change{ref: "main", files: map[string]string{"a": "2", "d/b": "1", "d/c": "2"}, parent: one})
	if err := src.WriteSummary(context.Background()); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(serve.Handler(src))
	defer s.Close()
	client := quick()
	for n := int64(1); ; n++ {
		r := initRepo(t, repo.Archive)
		r.Config().Unset("core", "fsync")
		if err := r.Config().Save(); err != nil {
			t.Fatal(err)
		}
		r, err := repo.Open(r.Path())
		if err != nil {
			t.Fatal(err)
		}
		r.Config().SetRemotesDir("")
		addRemote(t, r, s.URL, nil)
		if _, err := pull.Pull(context.Background(), r, "up", []string{"main@" + one.String()}, pull.Options{Client: client, Mirror: true}); err != nil {
			t.Fatal(err)
		}
		begin, fired := durable.Steps(), ""
		durable.SetHook(func(step int64, op, path string) error {
			if step == begin+n {
				fired = op + " " + path
				return errors.New("injected")
			}
			return nil
		})
		o := pull.Options{Client: client, Mirror: true, Depth: 1}
		_, err = pull.Pull(context.Background(), r, "up", nil, o)
		durable.SetHook(nil)
		if fired != "" && err == nil && !strings.Contains(fired, "summaries") { // a cache that cannot be written is no error
			t.Fatalf("step %d, %s: no error", n, fired)
		}
		if fired == "" {
			if err != nil || n < 10 {
				t.Fatalf("%d steps, %v", n, err)
			}
			return
		}
		sound(t, r, fired)
		if c, rerr := r.Resolve("main"); rerr != nil || c != one && (c != two || r.IsPartial(c)) {
			t.Fatalf("step %d, %s: main is %s, %v", n, fired, c, rerr)
		}
		if _, err := pull.Pull(context.Background(), r, "up", nil, o); err != nil {
			t.Fatalf("step %d, %s: the next pull: %v", n, fired, err)
		}
		sound(t, r, fired)
		if c, rerr := r.Resolve("main"); rerr != nil || c != two {
			t.Fatalf("step %d, %s: main is %s, %v", n, fired, c, rerr)
		}
		if left, _ := filepath.Glob(filepath.Join(r.Path(), "state/*")); len(left) > 0 {
			t.Fatalf("step %d, %s: left %v", n, fired, left)
		}
	}
}

func sound(t *testing.T, r *repo.Repo, when string) {
	t.Helper()
	res, err := r.Fsck(context.Background(), repo.FsckOptions{})
	if err != nil || len(res.Faults) > 0 {
		t.Fatalf("%s: %v %v", when, res.Faults, err)
	}
}

// What a dead process staged is taken up, but not where it is half; and it is gone afterwards.
func TestLeftovers(t *testing.T) {
	for _, mode := range []repo.Mode{repo.BareUser, repo.Archive} {
		for _, cut := range []string{"", "0", "5", "60"} {
			t.Run(mode.String()+" cut at "+cut, func(t *testing.T) { leftovers(t, mode, cut) })
		}
	}
}

// leftovers pulls beside a staged object that is cut at so many bytes; "" = it is whole.
func leftovers(t *testing.T, mode repo.Mode, cut string) {
	src := initRepo(t, repo.Archive)
	one := commit(t, src, change{ref: "main", files: sample()})
	r := initRepo(t, mode)
	addRemote(t, r, src.Path(), nil)
	tx, err := r.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	tree, _, err := src.Tree(one)
	if err != nil {
		t.Fatal(err)
	}
	e, _, err := tree.Lookup("big")
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.ImportObject(src, ostree.TypeFile, e.File); err != nil {
		t.Fatal(err)
	}
	if left, err := r.Leftovers(); err != nil || len(left) > 0 {
		t.Fatalf("what a living one staged: %v %v", left, err)
	}
	staged, _ := filepath.Glob(filepath.Join(r.Path(), "tmp/grove-staging-*"))
	if len(staged) != 1 {
		t.Fatal(staged)
	}
	run(t, "cp", "-a", staged[0], staged[0]+"-dead") // its holder is gone
	if cut != "" {
		run(t, "sh", "-c", "for f in "+staged[0]+"-dead/*; do rm -f $f.new; cp -p --preserve=all $f $f.new; truncate -s "+cut+" $f.new; mv $f.new $f; done")
	}
	tx.Abort()
	res, err := pull.Pull(context.Background(), r, "up", []string{"main"}, pull.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if cut == "" && res.ObjectsCopied == 0 {
		t.Errorf("%+v", res)
	}
	check(t, r, "up:main", one, sample())
	sound(t, r, "after the pull")
	if staged, _ = filepath.Glob(filepath.Join(r.Path(), "tmp/grove-staging-*")); len(staged) > 0 {
		t.Errorf("left: %v", staged)
	}
}
