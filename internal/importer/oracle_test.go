// SPDX-License-Identifier: Apache-2.0

package importer_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"grove/internal/importer"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/rpm"
	"grove/internal/tree"
)

// closure gives the packages of a small real distribution, which are no part of the project.
func closure(t testing.TB) (dir string, files []string) {
	t.Helper()
	root := os.Getenv("GROVE_SHARED")
	if root == "" {
		root = "../../../shared"
	}
	dir = filepath.Join(root, "data/rpms/el7-closure")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("needs real data: %v", err)
	}
	for _, pattern := range []string{"*.rpm", "stubs/*.rpm"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		ok(t, err)
		files = append(files, found...)
	}
	return dir, files
}

func importFile(ctx context.Context, tx *repo.Tx, path string) (importer.Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return importer.Result{}, err
	}
	defer f.Close()
	p, err := rpm.ReadPackage(f)
	if err != nil {
		return importer.Result{}, err
	}
	return importer.Import(ctx, tx, p, f, importer.Options{})
}

type oracleLine struct{ kind, mode, sum, link, caps, hard string }

func readOracle(t *testing.T, path string) map[string]oracleLine {
	t.Helper()
	f, err := os.Open(path)
	ok(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	ok(t, err)
	lines := map[string]oracleLine{}
	for s := bufio.NewScanner(z); s.Scan(); {
		c := strings.Split(s.Text(), "\t")
		if len(c) == 11 {
			lines[c[0]] = oracleLine{c[1], c[2], c[7], c[8], c[9], c[10]}
		}
	}
	return lines
}

// byScripts are the files of the oracle that scriptlets wrote, or that packages bring and scriptlets changed.
var byScripts = []string{
	"/dev/null", "/etc/.pwd.lock", "/etc/alternatives/", "/etc/group", "/etc/gshadow", "/etc/ld.so.cache", "/etc/passwd", "/etc/pki/ca-trust/extracted/",
	"/etc/pki/ca-trust/source/ca-bundle.legacy.crt", "/etc/shadow", "/etc/shells", "/usr/lib/locale/locale-archive", "/usr/lib64/p11-kit-trust.so",
	"/usr/lib64/libnssckbi.so", "/usr/share/info/dir", "/var/cache/ldconfig/", "/var/lib/alternatives/", "/var/log/", "/usr/lib64/gconv/gconv-modules.cache",
	"/var/lib/rpm-state/", "/usr/share/locale/locale.alias",
	"/usr/lib/debug/", "/var/lock", "/var/run", // ghosts that a %pretrans makes
}

func TestTreeIsTheOneThatRPMLeaves(t *testing.T) {
	if testing.Short() {
		t.Skip("imports 41 packages")
	}
	dir, files := closure(t)
	oracle := readOracle(t, filepath.Join(dir, "ORACLE/tree-min-scripts.tsv.gz"))
	r := newRepo(t)
	ctx := context.Background()
	tx, err := r.Begin(ctx)
	ok(t, err)
	defer tx.Abort()
	all := tree.Empty(ostree.DefaultDirMeta())
	for _, f := range files {
		res, err := importFile(ctx, tx, f)
		if err != nil {
			t.Fatalf("%s: %v", filepath.Base(f), err)
		}
		all, err = tree.Merge(all, tree.Load(tx, res.Root), tree.MergeOptions{Replace: true})
		ok(t, err)
	}
	root, err := all.Write(tx)
	ok(t, err)
	ok(t, tx.Commit())
	all = tree.Load(r, root)
	var missing, different []string
	compared := map[string]int{}
	hard := map[string]ostree.Checksum{}
	for path, want := range oracle {
		if slices.ContainsFunc(byScripts, func(p string) bool { return strings.HasPrefix(path, p) }) {
			continue
		}
		place, known := place(path, want.kind)
		if !known {
			continue
		}
		e, found, err := all.Lookup(place)
		ok(t, err)
		if !found {
			missing = append(missing, path)
			continue
		}
		got := describeEntry(t, r, e)
		compared[want.kind]++
		if got != want.kind+" "+want.mode+" "+want.sum+" "+want.link+" "+want.caps {
			different = append(different, fmt.Sprintf("%s: got %s, want %v", path, got, want))
		}
		if want.hard != "-" && want.hard != "" {
			if sum, seen := hard[want.hard]; seen && sum != e.File {
				t.Errorf("%s is no hard link of %s", path, want.hard)
			}
			hard[want.hard] = e.File
		}
	}
	slices.Sort(missing)
	slices.Sort(different)
	if len(missing) > 0 {
		t.Errorf("%d missing:\n%s", len(missing), strings.Join(missing, "\n"))
	}
	if len(different) > 0 {
		t.Errorf("%d different:\n%s", len(different), strings.Join(different, "\n"))
	}
	t.Logf("compared %v", compared)
}

// place is MapPath, but for the entries that a composed tree makes by itself.
func place(path, kind string) (string, bool) {
	if kind == "d" && strings.Count(path, "/") == 1 || path == "/usr/local" || path == "/var/lib/rpm" || path == "/usr/share/rpm" {
		return "", false
	}
	return importer.MapPath(path)
}

func describeEntry(t *testing.T, r *repo.Repo, e tree.Entry) string {
	t.Helper()
	if e.Dir {
		return fmt.Sprintf("d %o - - -", e.Meta.Mode&0o7777)
	}
	h, _, content, err := r.OpenFile(e.File)
	ok(t, err)
	defer content.Close()
	if h.Symlink != "" {
		return fmt.Sprintf("l %o - %s -", h.Mode&0o7777, h.Symlink)
	}
	sum := sha256.New()
	_, err = io.Copy(sum, content)
	ok(t, err)
	caps := "-"
	for _, x := range h.Xattrs {
		if x.Name == "security.capability" {
			caps = hex.EncodeToString(x.Value)
		}
	}
	return fmt.Sprintf("f %o %s - %s", h.Mode&0o7777, hex.EncodeToString(sum.Sum(nil)), caps)
}

// BenchmarkImportClosure imports 41 packages, 17 MB packed, 60 MB unpacked, one after another, into the mode that guests are kept in.
func BenchmarkImportClosure(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	_, files := closure(b)
	for b.Loop() {
		r, err := repo.Init(filepath.Join(b.TempDir(), "repo"), repo.Bare)
		ok(b, err)
		tx, err := r.Begin(context.Background())
		ok(b, err)
		for _, f := range files {
			_, err := importFile(context.Background(), tx, f)
			ok(b, err)
		}
		ok(b, tx.Commit())
		ok(b, r.Close())
	}
}

func BenchmarkLoad(b *testing.B) {
	_, files := closure(b)
	r := newRepo(b)
	tx, err := r.Begin(context.Background())
	ok(b, err)
	var commits []ostree.Checksum
	for _, f := range files {
		res, err := importFile(context.Background(), tx, f)
		ok(b, err)
		commits = append(commits, res.Commit)
	}
	ok(b, tx.Commit())
	for b.Loop() {
		for _, c := range commits {
			_, err := importer.Load(r, c)
			ok(b, err)
		}
	}
}
