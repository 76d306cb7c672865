// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"grove/internal/deploy"
	"grove/internal/durable"
	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/tree"
)

// files describes a tree: "path" -> content; a path with a final slash is a directory, "-> x" as content a link,
// and "0600 text" gives another mode than 0644.
type files map[string]string

func (f files) write(t testing.TB, root string) {
	t.Helper()
	names := make([]string, 0, len(f))
	for p := range f {
		names = append(names, p)
	}
	sort.Strings(names)
	for _, p := range names {
		path, text := filepath.Join(root, p), f[p]
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		mode := fs.FileMode(0o644)
		if len(text) > 5 && text[0] == '0' && text[4] == ' ' {
			var m uint32
			fmt.Sscanf(text[:4], "%o", &m)
			mode, text = fs.FileMode(m), text[5:]
		}
		switch target, link := strings.CutPrefix(text, "-> "); {
		case strings.HasSuffix(p, "/"):
			must(t, os.MkdirAll(path, 0o755))
			if mode != 0o644 {
				must(t, os.Chmod(path, mode))
			}
		case link:
			_ = os.Remove(path)
			must(t, os.Symlink(target, path))
		default:
			_ = os.Remove(path)
			must(t, os.WriteFile(path, []byte(text), mode))
			must(t, os.Chmod(path, mode))
		}
	}
}

// dump prints what lies below root: kind, mode, path, content or target.
func dump(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		st, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			fmt.Fprintf(&b, "d %04o %s\n", st.Mode().Perm(), rel)
		case d.Type()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			fmt.Fprintf(&b, "l %s -> %s\n", rel, target)
		default:
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "f %04o %s %q\n", st.Mode().Perm(), rel, data)
		}
		return nil
	}))
	return b.String()
}

// tempDir is a temporary folder in memory where there is one: these tests sync a lot, and the peer freezes disks.
func tempDir(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "grove-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, root string) *deploy.Store {
	t.Helper()
	s, err := deploy.Open(root, deploy.Options{AsRoot: os.Geteuid() == 0})
	must(t, err)
	return s
}

// commit puts a tree into the repo.
func commit(t testing.TB, r *repo.Repo, f files) (ostree.Checksum, tree.Root) {
	t.Helper()
	dir := tempDir(t)
	f.write(t, dir)
	ctx := context.Background()
	tx, err := r.Begin(ctx)
	must(t, err)
	root, err := r.CommitTree(ctx, tx, dir, repo.CommitTreeOptions{})
	must(t, err)
	c, err := tx.PutCommit(ostree.Commit{Metadata: gvariant.Dict{}, Tree: root.Tree, Meta: root.Meta, Timestamp: 1})
	must(t, err)
	must(t, tx.Commit())
	return c, root
}

// build stages and finishes a deployment of a tree.
func build(g *deploy.Guest, s *deploy.Store, c ostree.Checksum, root tree.Root, f deploy.Final) (*deploy.Staged, deploy.Report, error) {
	ctx := context.Background()
	st, err := g.Stage(ctx)
	if err != nil {
		return nil, deploy.Report{}, err
	}
	if err := layOut(st, s, c, root, f); err != nil {
		return st, deploy.Report{}, err
	}
	f.Commit, f.Manifest, f.Lock, f.Created = c, []byte("base: x\n"), []byte("{}\n"), time.Unix(1, 0)
	r, err := st.Finish(ctx, f)
	return st, r, err
}

// kind is that of the deployments that build makes.
var kind = deploy.Checkout

// eachKind runs a test with deployments of each kind.
func eachKind(t *testing.T, f func(*testing.T)) {
	for _, k := range []deploy.Kind{deploy.Checkout, deploy.Composefs} {
		t.Run(string(k), func(t *testing.T) {
			if k == deploy.Composefs {
				if err := open(t, tempDir(t)).Images().Support(); err != nil && os.Getenv("GROVE_CI") == "1" {
					t.Fatal(err)
				} else if err != nil {
					t.Skip(err)
				}
			}
			kind = k
			defer func() { kind = deploy.Checkout }()
			f(t)
		})
	}
}

func layOut(st *deploy.Staged, s *deploy.Store, c ostree.Checksum, root tree.Root, f deploy.Final) error {
	ctx := context.Background()
	if kind == deploy.Composefs {
		base := f.BaseCommit
		if base.IsZero() {
			base = c
		}
		return st.LayOut(ctx, base, c, deploy.Choice{Kind: kind})
	}
	return s.Repo().Checkout(ctx, root, st.Root(), repo.CheckoutOptions{UserMode: os.Geteuid() != 0})
}

// readFile reads a file of a deployment's tree.
func readFile(t *testing.T, d deploy.Deployment, name string) []byte {
	t.Helper()
	f, err := d.OpenTree()
	must(t, err)
	defer f.Close()
	data, err := os.ReadFile(filepath.Join(f.Name(), name))
	must(t, err)
	return data
}

func clean(t *testing.T, s *deploy.Store) {
	t.Helper()
	faults, err := s.Check(context.Background())
	must(t, err)
	if len(faults) > 0 {
		t.Fatalf("check:\n%s", strings.Join(faults, "\n"))
	}
}

func TestValidName(t *testing.T) {
	for name, ok := range map[string]bool{"web": true, "a": true, "web-1.example": true, "A_b": true, "": false, ".": false, "..": false, "a/b": false,
		"-a": false, "a-": false, "a..b": false, "a.": false, "a b": false, "ä": false, "a.-b": false, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false} {
		if err := deploy.ValidName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestLife(t *testing.T) { eachKind(t, testLife) }

func testLife(t *testing.T) {
	ctx := context.Background()
	s := open(t, filepath.Join(tempDir(t), "state"))
	g, err := s.NewGuest(ctx, "web")
	must(t, err)
	if names, _ := s.Guests(); len(names) != 0 {
		t.Errorf("unfinished guest is listed: %v", names)
	}
	if _, err := g.Current(); !errors.Is(err, deploy.ErrNone) {
		t.Errorf("current of a new guest: %v", err)
	}
	c1, r1 := commit(t, s.Repo(), files{"usr/etc/conf": "one\n", "usr/etc/d/": "", "usr/etc/old": "x", "usr/bin/x": "0755 x", "usr/share/factory/var/lib/x/data": "seed\n"})
	_, rep, err := build(g, s, c1, r1, deploy.Final{Version: "1"})
	must(t, err)
	if got := fmt.Sprint(rep.VarFilled); got != "[lib lib/x lib/x/data]" {
		t.Errorf("filled %s", got)
	}
	clean(t, s)
	must(t, os.WriteFile(filepath.Join(g.VarDir(), "lib/x/data"), []byte("mine\n"), 0o644))

	cur, err := g.Current()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(cur.Root(), "etc/local"), []byte("mine\n"), 0o600))
	diff, err := s.EtcDiff(*cur)
	must(t, err)
	if got := fmt.Sprint(diff); got != "[{local added}]" {
		t.Errorf("etc diff %s", got)
	}
	c2, r2 := commit(t, s.Repo(), files{"usr/etc/conf": "two\n", "usr/etc/d/": "", "usr/bin/x": "0755 y", "usr/share/factory/var/lib/x/data": "seed2\n"})
	_, rep, err = build(g, s, c2, r2, deploy.Final{MergeFrom: cur, BaseCommit: c1})
	must(t, err)
	if fmt.Sprint(rep.EtcKept, rep.EtcTaken, rep.EtcGone, rep.VarFilled) != "[local] [conf] [old] []" {
		t.Errorf("report %+v", rep)
	}
	clean(t, s)
	cur, err = g.Current()
	must(t, err)
	if want := "f 0644 conf \"two\\n\"\nd 0755 d\nf 0600 local \"mine\\n\"\n"; dump(t, cur.Root()+"/etc") != want {
		t.Errorf("etc:\n%s", dump(t, cur.Root()+"/etc"))
	}
	must(t, g.SetCurrent(ctx, 1))
	if err := g.RemoveDeployment(ctx, 1); err == nil {
		t.Error("the current deployment was removed")
	}
	lock, err := durable.Acquire(ctx, mustDeployment(t, g, 2).RunLock(), false, 0)
	must(t, err)
	if err := g.RemoveDeployment(ctx, 2); !errors.Is(err, deploy.ErrRunning) {
		t.Errorf("remove a running deployment: %v", err)
	}
	must(t, lock.Release())
	must(t, g.RemoveDeployment(ctx, 2))
	st, err := g.Stage(ctx)
	must(t, err)
	if st.ID != 3 {
		t.Errorf("number %d was used again", st.ID)
	}
	must(t, st.Abort())
	clean(t, s)
	if _, err := s.Guest("wbe"); !errors.Is(err, repo.ErrNotFound) || err.Error() != "guest wbe: not found; is it web?" {
		t.Errorf("unknown guest: %v", err)
	}
	must(t, s.DeleteGuest(ctx, "web"))
	refs, err := s.Repo().Refs("")
	must(t, err)
	if len(refs) != 0 {
		t.Errorf("refs left: %v", refs)
	}
	clean(t, s)
}

func mustDeployment(t testing.TB, g *deploy.Guest, id int) *deploy.Deployment {
	t.Helper()
	d, err := g.Deployment(id)
	must(t, err)
	return d
}

func TestGC(t *testing.T) { eachKind(t, testGC) }

func testGC(t *testing.T) {
	ctx := context.Background()
	s := open(t, tempDir(t))
	g, err := s.NewGuest(ctx, "web")
	must(t, err)
	for i := range 5 {
		c, r := commit(t, s.Repo(), files{"usr/bin/x": fmt.Sprint("content ", i), "usr/etc/c": "c"})
		_, _, err := build(g, s, c, r, deploy.Final{Pin: i == 1})
		must(t, err)
	}
	dry, err := s.GC(ctx, deploy.GCOptions{DryRun: true})
	must(t, err)
	rep, err := s.GC(ctx, deploy.GCOptions{})
	must(t, err)
	if fmt.Sprint(dry.Deployments, rep.Deployments) != "[web/1 web/3] [web/1 web/3]" || rep.Objects == 0 {
		t.Errorf("dry %+v, gc %+v", dry, rep)
	}
	clean(t, s)
	must(t, s.Repo().Check(ctx))
}

// TestVarIsHostile plants links in /var that lead out of it.
func TestVarIsHostile(t *testing.T) { eachKind(t, testVarIsHostile) }

func testVarIsHostile(t *testing.T) {
	ctx := context.Background()
	s := open(t, tempDir(t))
	g, err := s.NewGuest(ctx, "web")
	must(t, err)
	outside := tempDir(t)
	must(t, os.Symlink(outside, filepath.Join(g.VarDir(), "lib")))
	must(t, os.Symlink(filepath.Join(outside, "made"), filepath.Join(g.VarDir(), "file")))
	must(t, os.Symlink(outside, filepath.Join(g.VarDir(), ".grove-tmp-fill")))
	c, r := commit(t, s.Repo(), files{"usr/share/factory/var/lib/x": "x", "usr/share/factory/var/file": "f", "usr/share/factory/var/log/l": "l"})
	_, rep, err := build(g, s, c, r, deploy.Final{})
	must(t, err)
	if fmt.Sprint(rep.VarFilled) != "[log log/l]" {
		t.Errorf("filled %v", rep.VarFilled)
	}
	if d := dump(t, outside); d != "" {
		t.Errorf("written outside:\n%s", d)
	}
	clean(t, s)
}

// TestEtcIsHostile replaces folders of /etc by links that lead out.
func TestEtcIsHostile(t *testing.T) { eachKind(t, testEtcIsHostile) }

func testEtcIsHostile(t *testing.T) {
	ctx := context.Background()
	s := open(t, tempDir(t))
	g, err := s.NewGuest(ctx, "web")
	must(t, err)
	outside := tempDir(t)
	files{"secret": "s"}.write(t, outside)
	base := files{"usr/etc/a/f": "1", "usr/etc/plain": "p"}
	c, r := commit(t, s.Repo(), base)
	_, _, err = build(g, s, c, r, deploy.Final{})
	must(t, err)
	cur := mustDeployment(t, g, 1)
	must(t, os.RemoveAll(cur.Root()+"/etc/a"))
	must(t, os.Symlink(outside, cur.Root()+"/etc/a"))
	must(t, os.Remove(cur.Root()+"/etc/plain"))
	must(t, os.Symlink(outside+"/secret", cur.Root()+"/etc/plain"))
	st, _, err := build(g, s, c, r, deploy.Final{MergeFrom: cur})
	if err == nil || !strings.Contains(err.Error(), "merge etc/a: ") {
		t.Errorf("got %v", err)
	}
	must(t, st.Abort())
	clean(t, s)
	must(t, os.Remove(cur.Root()+"/etc/a"))
	_, _, err = build(g, s, c, r, deploy.Final{MergeFrom: cur})
	must(t, err)
	if d := dump(t, outside); d != "f 0644 secret \"s\"\n" {
		t.Errorf("outside is now:\n%s", d)
	}
	if target, _ := os.Readlink(mustDeployment(t, g, 2).Root() + "/etc/plain"); target != outside+"/secret" {
		t.Errorf("a local link was not kept as a link")
	}
	cur = mustDeployment(t, g, 2)
	must(t, os.WriteFile(cur.Root()+"/etc/hole", nil, 0o644))
	if err := os.Truncate(cur.Root()+"/etc/hole", 20<<30); err != nil {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal(err)
		}
		t.Skipf("needs a file system that takes a hole of 20 GiB: %v", err)
	}
	if st, _, err = build(g, s, c, r, deploy.Final{MergeFrom: cur}); err == nil || !strings.Contains(err.Error(), "hole alone 21474836480") {
		t.Errorf("a file of 20 GB without content: %v", err)
	}
	must(t, st.Abort())
}

// world is what a person sees of a store: to compare states before and after.
func world(t *testing.T, s *deploy.Store) string {
	t.Helper()
	var b bytes.Buffer
	names, err := s.Guests()
	must(t, err)
	for _, n := range names {
		g, err := s.Guest(n)
		must(t, err)
		all, err := g.Deployments()
		must(t, err)
		for _, d := range all {
			data := readFile(t, d, "usr/bin/x")
			fmt.Fprintf(&b, "%s %d current=%v x=%s etc=%q\n", n, d.ID, d.Current, data, dump(t, d.Root()+"/etc"))
		}
	}
	return b.String()
}

// TestEachStepFailing fails each durable step of each change in turn, leaves the rest as a kill would, and demands that
// the next Open finds the old state or the new one.
func TestEachStepFailing(t *testing.T) { eachKind(t, testEachStepFailing) }

func testEachStepFailing(t *testing.T) {
	ctx := context.Background()
	final := func(s *deploy.Store, name string) (*deploy.Guest, *deploy.Deployment, error) {
		g, err := s.Guest(name)
		if err != nil {
			return nil, nil, err
		}
		cur, err := g.Current()
		return g, cur, err
	}
	trees := []files{
		{"usr/bin/x": "one", "usr/etc/conf": "one", "usr/share/factory/var/lib/a": "a"},
		{"usr/bin/x": "two", "usr/etc/conf": "two", "usr/share/factory/var/lib/b/c": "b"},
	}
	type env struct {
		s     *deploy.Store
		c     [2]ostree.Checksum
		r     [2]tree.Root
		stage *deploy.Staged
	}
	create := func(e *env) error {
		g, err := e.s.NewGuest(ctx, "web")
		if err == nil {
			e.stage, _, err = build(g, e.s, e.c[0], e.r[0], deploy.Final{})
		}
		return err
	}
	upgrade := func(e *env) error {
		g, cur, err := final(e.s, "web")
		if err == nil {
			e.stage, _, err = build(g, e.s, e.c[1], e.r[1], deploy.Final{MergeFrom: cur, BaseCommit: e.c[0]})
		}
		return err
	}
	rollback := func(e *env) error {
		g, _, err := final(e.s, "web")
		if err == nil {
			err = g.SetCurrent(ctx, 1)
		}
		return err
	}
	gc := func(e *env) error {
		_, err := e.s.GC(ctx, deploy.GCOptions{Keep: -1})
		return err
	}
	remove := func(e *env) error { return e.s.DeleteGuest(ctx, "web") }
	verbs := []struct {
		name   string
		before []func(*env) error
		do     func(*env) error
	}{
		{"create", nil, create}, {"upgrade", []func(*env) error{create}, upgrade}, {"rollback", []func(*env) error{create, upgrade}, rollback},
		{"gc", []func(*env) error{create, upgrade}, gc}, {"delete", []func(*env) error{create, upgrade}, remove},
	}
	injected := errors.New("injected")
	for _, v := range verbs {
		t.Run(v.name, func(t *testing.T) {
			for n := int64(1); ; n++ {
				e := &env{s: open(t, tempDir(t))}
				for i := range trees {
					e.c[i], e.r[i] = commit(t, e.s.Repo(), trees[i])
					must(t, e.s.Repo().SetRef(fmt.Sprintf("keep/%d", i), e.c[i]))
				}
				for _, f := range v.before {
					must(t, f(e))
				}
				old := world(t, e.s)
				count := int64(0)
				durable.SetHook(func(int64, string, string) error {
					if count++; count >= n { // nothing durable happens after a kill
						return injected
					}
					return nil
				})
				err := v.do(e)
				durable.SetHook(nil)
				if e.stage != nil {
					e.stage.Abandon()
				}
				if err == nil {
					if n < 3 {
						t.Errorf("only %d steps", n)
					}
					t.Logf("%d steps", n-1)
					return
				}
				if !errors.Is(err, injected) {
					t.Fatalf("step %d: %v", n, err)
				}
				s := open(t, e.s.Root())
				clean(t, s)
				must(t, s.Repo().Check(ctx))
				if got := world(t, s); got != old {
					// not the old state: then the new one, which the change does again without effect or has reached
					e2 := &env{s: open(t, tempDir(t)), c: e.c, r: e.r}
					for i := range trees {
						commit(t, e2.s.Repo(), trees[i])
					}
					for _, f := range append(append([]func(*env) error{}, v.before...), v.do) {
						must(t, f(e2))
					}
					if want := world(t, e2.s); got != want && v.name != "gc" {
						t.Fatalf("step %d: neither old nor new:\n%s\nold:\n%s\nnew:\n%s", n, got, old, want)
					}
				}
			}
		})
	}
}

// TestAccountsMerge lets a local user, a package's user, and a package that goes meet in /etc/passwd.
func TestAccountsMerge(t *testing.T) { eachKind(t, testAccountsMerge) }

func testAccountsMerge(t *testing.T) {
	ctx := context.Background()
	s := open(t, tempDir(t))
	g, err := s.NewGuest(ctx, "web")
	must(t, err)
	const root = "root:x:0:0:root:/root:/bin/bash\n"
	c1, r1 := commit(t, s.Repo(), files{"usr/etc/passwd": root + "old:x:990:990::/:/bin/false\n", "usr/etc/group": "root:x:0:\nold:x:990:\n", "usr/etc/shadow": "0600 root:*:1::::::\n",
		"usr/etc/subuid": ""})
	_, _, err = build(g, s, c1, r1, deploy.Final{})
	must(t, err)
	etc := mustDeployment(t, g, 1).Root() + "/etc/"
	add := func(name, line string) {
		data, err := os.ReadFile(etc + name)
		must(t, err)
		must(t, os.WriteFile(etc+name, append(data, line...), 0o600))
	}
	add("passwd", "bob:x:1000:1000::/home/bob:/bin/bash\n")
	add("group", "bob:x:1000:\n")
	add("shadow", "bob:secret:1::::::\n")
	add("subuid", "bob:100000:65536\n")
	c2, r2 := commit(t, s.Repo(), files{"usr/etc/passwd": root + "new:x:989:989::/:/bin/false\n", "usr/etc/group": "root:x:0:\nnew:x:989:\n", "usr/etc/shadow": "0600 root:*:1::::::\nnew:!:1::::::\n",
		"usr/etc/subuid": "new:200000:65536\n"})
	_, rep, err := build(g, s, c2, r2, deploy.Final{MergeFrom: mustDeployment(t, g, 1)})
	must(t, err)
	etc = mustDeployment(t, g, 2).Root() + "/etc/"
	for name, want := range map[string]string{"passwd": "bob new old root", "group": "bob new old root", "shadow": "bob new root", "subuid": "bob new"} {
		data, err := os.ReadFile(etc + name)
		must(t, err)
		var names []string
		for _, l := range strings.Split(strings.TrimSpace(string(data)), "\n") {
			name, _, _ := strings.Cut(l, ":")
			names = append(names, name)
		}
		sort.Strings(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s has %s, wanted %s", name, got, want)
		}
	}
	if st, err := os.Stat(etc + "shadow"); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("shadow is %v, %v", st.Mode(), err)
	}
	if fmt.Sprint(rep.EtcMerged) != "[group passwd shadow subuid]" {
		t.Errorf("report %+v", rep)
	}
	clean(t, s)
}

// TestAttributes compares owner, mode and xattrs of what fills /var, and of /etc, with the tree's.
func TestAttributes(t *testing.T) { eachKind(t, testAttributes) }

func testAttributes(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	ctx := context.Background()
	s := open(t, tempDir(t))
	g, err := s.NewGuest(ctx, "web")
	must(t, err)
	dir := tempDir(t)
	files{"usr/share/factory/var/lib/": "", "usr/share/factory/var/lib/f": "04750 x", "usr/etc/d/": "", "usr/etc/d/f": "0640 x"}.write(t, dir)
	for _, p := range []string{"usr/share/factory/var/lib", "usr/share/factory/var/lib/f", "usr/etc/d", "usr/etc/d/f"} {
		must(t, os.Chown(filepath.Join(dir, p), 990, 991))
	}
	must(t, os.Chmod(dir+"/usr/share/factory/var/lib", 0o1750|os.ModeSticky))
	must(t, os.Chmod(dir+"/usr/share/factory/var/lib/f", 0o750|os.ModeSetuid))
	tx, err := s.Repo().Begin(ctx)
	must(t, err)
	root, err := s.Repo().CommitTree(ctx, tx, dir, repo.CommitTreeOptions{})
	must(t, err)
	c, err := tx.PutCommit(ostree.Commit{Tree: root.Tree, Meta: root.Meta})
	must(t, err)
	must(t, tx.Commit())
	_, _, err = build(g, s, c, root, deploy.Final{})
	must(t, err)
	for p, want := range map[string]string{g.VarDir() + "/lib": "990 991 41750", g.VarDir() + "/lib/f": "990 991 104750",
		mustDeployment(t, g, 1).Root() + "/etc/d/f": "990 991 100640"} {
		var st unix.Stat_t
		must(t, unix.Lstat(p, &st))
		if got := fmt.Sprintf("%d %d %o", st.Uid, st.Gid, st.Mode); got != want {
			t.Errorf("%s: %s, wanted %s", p, got, want)
		}
	}
}
