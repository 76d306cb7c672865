// SPDX-License-Identifier: Apache-2.0

package compose_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"grove/internal/compose"
	"grove/internal/fetch"
	"grove/internal/fixture"
	"grove/internal/manifest"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/rpmmd"
	"grove/internal/sandbox"
	"grove/internal/scriptlet"
	"grove/internal/tree"
)

func TestMain(m *testing.M) {
	sandbox.Child(scriptlet.Builtins())
	code := m.Run()
	if shared.dir != "" {
		os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// world is Copse Linux, and a repo that has its base.
type world struct {
	fixture.World
	dir, seed string
	base      ostree.Checksum
	lock      manifest.Lock
}

var (
	shared     world
	sharedErr  error
	sharedOnce sync.Once
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("GROVE_CI") == "1" {
		t.Fatal("needs root, which there must be where GROVE_CI=1")
	}
	t.Skip("needs root")
}

// shm is a memory file system where there is one: these tests write and sync much.
func shm() string {
	if _, err := os.Stat("/dev/shm"); err == nil {
		return "/dev/shm"
	}
	return os.TempDir()
}

func makeTemp() (string, error) {
	dir, err := os.MkdirTemp(shm(), "grove-compose-test-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := makeTemp()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func copse(t testing.TB) world {
	t.Helper()
	needRoot(t)
	sharedOnce.Do(func() { sharedErr = makeShared() })
	if sharedErr != nil {
		t.Fatal(sharedErr)
	}
	return shared
}

func makeShared() error {
	dir, err := makeTemp()
	if err != nil {
		return err
	}
	shared.dir, shared.seed = dir, filepath.Join(dir, "seed")
	if shared.World, err = fixture.Make(filepath.Join(dir, "copse"), fixture.Options{Minimal: true}); err != nil {
		return err
	}
	p := place{w: shared, dir: shared.seed}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	if p.repo, err = repo.Init(filepath.Join(p.dir, "repo"), repo.Bare); err != nil {
		return err
	}
	m, err := shared.baseManifest()
	if err != nil {
		return err
	}
	o, err := p.options()
	if err != nil {
		return err
	}
	res, err := compose.Run(context.Background(), m, o)
	if err != nil {
		return err
	}
	shared.base, shared.lock = res.Commit, res.Lock
	return p.repo.SetRef("base", res.Commit)
}

func (w world) baseManifest() (manifest.Manifest, error) {
	return manifest.Load(os.DirFS(w.Dir), filepath.Base(w.BaseManifest), w.Arch)
}

// place is a repo with a cache and a working folder.
type place struct {
	w     world
	dir   string
	repo  *repo.Repo
	repos []string // further .repo files
}

func (w world) place(t testing.TB) *place {
	t.Helper()
	p := &place{w: w, dir: filepath.Join(tempDir(t), "place")}
	if out, err := exec.Command("sh", "-c", `cp -al "$1" "$2" && find "$2" -name "*.lock" -delete`, "sh", w.seed, p.dir).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v\n%s", err, out)
	}
	var err error
	if p.repo, err = repo.Open(filepath.Join(p.dir, "repo")); err != nil {
		t.Fatal(err)
	}
	return p
}

// options are those of a compose in this place, with a working folder that is its own.
func (p *place) options() (compose.Options, error) {
	o := compose.Options{
		Repo: p.repo, CacheDir: filepath.Join(p.dir, "cache"), Client: fetch.New(fetch.Options{UserAgent: "grove-test"}),
		ReadKey: func(u string) ([]byte, error) { return os.ReadFile(strings.TrimPrefix(u, "file://")) },
	}
	vars := rpmmd.Vars{"basearch": p.w.Arch, "arch": p.w.Arch, "releasever": "1"}
	for _, f := range append([]string{p.w.RepoFile}, p.repos...) {
		data, err := os.ReadFile(f)
		if err != nil {
			return o, err
		}
		list, _, err := rpmmd.ParseRepoFile(data, vars)
		if err != nil {
			return o, err
		}
		o.Sources = append(o.Sources, list...)
	}
	var err error
	o.Scratch, err = os.MkdirTemp(p.dir, "work-")
	return o, err
}

// onBase are options for layers on the base.
func (p *place) onBase(t testing.TB, ref string) compose.Options {
	t.Helper()
	o, err := p.options()
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.repo.Resolve(ref)
	if err != nil {
		t.Fatal(err)
	}
	o.Base = &compose.Base{Ref: ref, Commit: c}
	return o
}

func (p *place) run(t testing.TB, m manifest.Manifest, o compose.Options) (compose.Result, *tree.Tree) {
	t.Helper()
	res, err := compose.Run(context.Background(), m, o)
	if err != nil {
		t.Fatal(err)
	}
	tr, _, err := p.repo.Tree(res.Commit)
	if err != nil {
		t.Fatal(err)
	}
	return res, tr
}

// text is the content of a file of a tree, or what else is there in brackets.
func (p *place) text(t testing.TB, tr *tree.Tree, path string) string {
	t.Helper()
	e, ok, err := tr.Lookup(path)
	switch {
	case err != nil:
		t.Fatal(err)
	case !ok:
		return "[none]"
	case e.Dir:
		return "[directory]"
	}
	h, _, content, err := p.repo.OpenFile(e.File)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	if h.Symlink != "" {
		return "[link to " + h.Symlink + "]"
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(content); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// source makes a source of packages that the place asks from now on.
func (p *place) source(t testing.TB, id string, specs ...fixture.Spec) {
	t.Helper()
	dir := filepath.Join(tempDir(t), id)
	secret := p.secret(t)
	var built []fixture.Built
	for _, s := range specs {
		s.Key = secret
		b, err := fixture.Build(s)
		if err != nil {
			t.Fatal(err)
		}
		built = append(built, b)
	}
	if err := fixture.WriteSource(dir, built, nil, secret); err != nil {
		t.Fatal(err)
	}
	f := dir + ".repo"
	text := fmt.Sprintf("[%s]\nbaseurl=file://%s\ngpgkey=file://%s\n", id, dir, p.w.PublicKey)
	if err := os.WriteFile(f, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p.repos = append(p.repos, f)
}

func (p *place) secret(t testing.TB) []byte {
	t.Helper()
	secret, err := os.ReadFile(p.w.SecretKey)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// rpmFile writes a package file and says how a manifest names it.
func (p *place) rpmFile(t testing.TB, s fixture.Spec, key []byte) (string, manifest.LocalPackage) {
	t.Helper()
	s.Key = key
	data, err := fixture.RPM(s)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(tempDir(t), s.FileName())
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := compose.InspectLocal(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, l
}

// edited commits the base with changes as a ref.
func (p *place) edited(t testing.TB, from, to string, change func(b *editor)) {
	t.Helper()
	sum, err := p.repo.Resolve(from)
	if err != nil {
		t.Fatal(err)
	}
	tr, c, err := p.repo.Tree(sum)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := p.repo.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	b := &editor{t, tx, tr.Edit()}
	change(b)
	if err := b.edit.Err(); err != nil {
		t.Fatal(err)
	}
	root, err := b.edit.Tree().Write(tx)
	if err != nil {
		t.Fatal(err)
	}
	c.Tree, c.Meta, c.Subject = root.Tree, root.Meta, to
	if sum, err = tx.PutCommit(c); err == nil {
		if err = tx.SetRef(to, sum); err == nil {
			err = tx.Commit()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// editor changes a tree.
type editor struct {
	t    testing.TB
	tx   *repo.Tx
	edit *tree.Editor
}

func (b *editor) file(path, text string) {
	b.put(path, ostree.FileHeader{Mode: 0o100644}, text)
}

func (b *editor) link(path, target string) {
	b.put(path, ostree.FileHeader{Mode: 0o120777, Symlink: target}, "")
}

func (b *editor) remove(paths ...string) {
	for _, p := range paths {
		if err := b.edit.Remove(p); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *editor) put(path string, h ostree.FileHeader, text string) {
	b.t.Helper()
	sum, err := b.tx.PutFile(h, int64(len(text)), strings.NewReader(text))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.edit.PutFile(path, sum); err != nil {
		b.t.Fatal(err)
	}
}

// installed are the names in a tree's rpmdb, in the order in which they were installed.
func (p *place) installed(t testing.TB, tr *tree.Tree) string {
	t.Helper()
	headers := p.headers(t, tr)
	var names []string
	for _, h := range headers {
		names = append(names, h.NEVRA().String())
	}
	return strings.Join(names, " ")
}
