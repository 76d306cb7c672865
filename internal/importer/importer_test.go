// SPDX-License-Identifier: Apache-2.0

package importer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/fixture"
	"grove/internal/importer"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/rpm"
	"grove/internal/tree"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newRepo makes an archive repository: it holds any owner and mode without root.
func newRepo(t testing.TB) *repo.Repo {
	t.Helper()
	r, err := repo.Init(filepath.Join(t.TempDir(), "repo"), repo.Archive)
	ok(t, err)
	ok(t, r.Config().Set("core", "min-free-space-percent", "0"))
	ok(t, r.Config().Set("core", "fsync", "false"))
	ok(t, r.Config().Save())
	r.Close()
	r, err = repo.Open(r.Path())
	ok(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

func build(t testing.TB, s fixture.Spec) []byte {
	t.Helper()
	b, err := fixture.Build(s)
	ok(t, err)
	return b.Data
}

func importData(r *repo.Repo, data []byte, o importer.Options) (importer.Result, error) {
	in := bytes.NewReader(data)
	p, err := rpm.ReadPackage(in)
	if err != nil {
		return importer.Result{}, err
	}
	tx, err := r.Begin(context.Background())
	if err != nil {
		return importer.Result{}, err
	}
	defer tx.Abort()
	res, err := importer.Import(context.Background(), tx, p, in, o)
	if err != nil {
		return res, err
	}
	return res, tx.Commit()
}

// paths leaves kind, mode, path and link of the lines of tree.Format.
func describe(t testing.TB, r *repo.Repo, res importer.Result) string {
	t.Helper()
	var b strings.Builder
	ok(t, tree.Load(r, res.Root).Walk(func(path string, e tree.Entry) error {
		if e.Dir {
			fmt.Fprintf(&b, "d %04o %d:%d /%s\n", e.Meta.Mode&0o7777, e.Meta.UID, e.Meta.GID, path)
			return nil
		}
		h, size, err := r.FileHeader(e.File)
		if err != nil {
			return err
		}
		kind := "f"
		if h.Symlink != "" {
			kind = "l"
		}
		fmt.Fprintf(&b, "%s %04o %d:%d %d /%s", kind, h.Mode&0o7777, h.UID, h.GID, size, path)
		if h.Symlink != "" {
			fmt.Fprintf(&b, " -> %s", h.Symlink)
		}
		for _, x := range h.Xattrs {
			fmt.Fprintf(&b, " %s=%x", x.Name, x.Value)
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

var everything = fixture.Spec{Name: "all", Epoch: "2", Version: "1_0", Files: []fixture.File{
	{Path: "/bin", Link: "usr/bin"},
	{Path: "/bin/sh", Mode: 0o755, Content: []byte("sh")},
	{Path: "/boot", Dir: true, Mode: 0o555},
	{Path: "/boot/vmlinuz", Content: []byte("k")},
	{Path: "/dev", Dir: true},
	{Path: "/dev/null", Content: []byte("x")},
	{Path: "/etc", Dir: true, Mode: 0o755},
	{Path: "/etc/all.conf", Content: []byte("c"), Flags: fixture.FlagConfig},
	{Path: "/etc/secret", Mode: 0o640, Group: "mail", Content: []byte("s")},
	{Path: "/etc/ghost", Flags: fixture.FlagGhost},
	{Path: "/home", Dir: true},
	{Path: "/home/all/.profile", Content: []byte("p")},
	{Path: "/lib64/liball.so", Content: []byte("so")},
	{Path: "/lib", Dir: true, Mode: 0o555},
	{Path: "/media", Dir: true},
	{Path: "/mnt/x", Content: []byte("m")},
	{Path: "/opt/all/bin/all", Mode: 0o755, Content: []byte("o")},
	{Path: "/opt/empty", Dir: true},
	{Path: "/proc", Dir: true, Mode: 0o555},
	{Path: "/root", Dir: true, Mode: 0o550},
	{Path: "/root/.bashrc", Content: []byte("b")},
	{Path: "/run/all", Dir: true, Mode: 0o710, User: "all", Group: "all"},
	{Path: "/run/a link", Link: "../x%y"},
	{Path: "/srv/www", Dir: true},
	{Path: "/tmp", Dir: true, Mode: 0o1777},
	{Path: "/usr/bin/one", Mode: 0o4755, Content: []byte("hard")},
	{Path: "/usr/bin/two", Mode: 0o4755, HardLink: "/usr/bin/one"},
	{Path: "/usr/bin/ping", Mode: 0o755, Content: []byte("ping"), Caps: "cap_net_admin,cap_net_raw=p"},
	{Path: "/usr/local", Dir: true},
	{Path: "/usr/local/bin/l", Content: []byte("l")},
	{Path: "/usr/share/doc/all/README", Content: []byte("doc"), Flags: fixture.FlagDoc},
	{Path: "/usr/share/locale/de/all.mo", Content: []byte("de"), Lang: "de"},
	{Path: "/usr/share/locale/fr/all.mo", Content: []byte("fr"), Lang: "fr"},
	{Path: "/usr/lib/sysimage/rpm/x", Content: []byte("r")},
	{Path: "/var/lib/all", Dir: true, Mode: 0o2770, User: "all", Group: "mail"},
	{Path: "/var/lib/all/data", Mode: 0o600, User: "all", Content: []byte("d")},
	{Path: "/var/lib/rpm/Packages", Content: []byte("r")},
	{Path: "/var/run", Link: "../run"},
	{Path: "/var/run/all2", Dir: true},
	{Path: "/var/lock/all", Dir: true},
}}

const everythingTree = `d 0755 0:0 /
l 0777 0:0 0 /bin -> usr/bin
d 0555 0:0 /boot
d 0755 0:0 /dev
d 0555 0:0 /proc
d 1777 0:0 /tmp
d 0755 0:0 /usr
d 0755 0:0 /usr/bin
f 4755 0:0 4 /usr/bin/one
f 0755 0:0 4 /usr/bin/ping security.capability=0000000200300000000000000000000000000000
f 0755 0:0 2 /usr/bin/sh
f 4755 0:0 4 /usr/bin/two
d 0755 0:0 /usr/etc
f 0644 0:0 1 /usr/etc/all.conf
f 0640 0:0 1 /usr/etc/secret
d 0555 0:0 /usr/lib
d 0755 0:0 /usr/lib/opt
d 0755 0:0 /usr/lib/opt/all
d 0755 0:0 /usr/lib/opt/all/bin
f 0755 0:0 1 /usr/lib/opt/all/bin/all
d 0755 0:0 /usr/lib/opt/empty
d 0755 0:0 /usr/lib/ostree-boot
f 0644 0:0 1 /usr/lib/ostree-boot/vmlinuz
d 0755 0:0 /usr/lib64
f 0644 0:0 2 /usr/lib64/liball.so
d 0755 0:0 /usr/share
d 0755 0:0 /usr/share/doc
d 0755 0:0 /usr/share/doc/all
f 0644 0:0 3 /usr/share/doc/all/README
d 0755 0:0 /usr/share/factory
d 0755 0:0 /usr/share/factory/var
d 0755 0:0 /usr/share/factory/var/home
d 0755 0:0 /usr/share/factory/var/home/all
f 0644 0:0 1 /usr/share/factory/var/home/all/.profile
d 0755 0:0 /usr/share/factory/var/lib
d 2770 0:0 /usr/share/factory/var/lib/all
f 0600 0:0 1 /usr/share/factory/var/lib/all/data
d 0755 0:0 /usr/share/factory/var/mnt
f 0644 0:0 1 /usr/share/factory/var/mnt/x
d 0755 0:0 /usr/share/factory/var/opt
l 0777 0:0 0 /usr/share/factory/var/opt/all -> /usr/lib/opt/all
l 0777 0:0 0 /usr/share/factory/var/opt/empty -> /usr/lib/opt/empty
d 0550 0:0 /usr/share/factory/var/roothome
f 0644 0:0 1 /usr/share/factory/var/roothome/.bashrc
l 0777 0:0 0 /usr/share/factory/var/run -> ../run
d 0755 0:0 /usr/share/factory/var/srv
d 0755 0:0 /usr/share/factory/var/srv/www
d 0755 0:0 /usr/share/factory/var/usrlocal
d 0755 0:0 /usr/share/factory/var/usrlocal/bin
f 0644 0:0 1 /usr/share/factory/var/usrlocal/bin/l
d 0755 0:0 /usr/share/locale
d 0755 0:0 /usr/share/locale/de
f 0644 0:0 2 /usr/share/locale/de/all.mo
d 0755 0:0 /usr/share/locale/fr
f 0644 0:0 2 /usr/share/locale/fr/all.mo
`

func TestEveryPathHasItsPlace(t *testing.T) {
	r := newRepo(t)
	res, err := importData(r, build(t, everything), importer.Options{Digest: "abc"})
	ok(t, err)
	if diff := cmp.Diff(everythingTree, describe(t, r, res)); diff != "" {
		t.Error(diff)
	}
	wantLines := `L /run/a\x20link - - - - ../x%%y
d /run/all 0710 all all - -
d /run/all2 0755 root root - -
d /run/lock/all 0755 root root - -`
	if diff := cmp.Diff(wantLines, strings.Join(res.Tmpfiles, "\n")); diff != "" {
		t.Error(diff)
	}
	var owners strings.Builder
	for _, o := range res.Owners {
		fmt.Fprintf(&owners, "%s %s:%s %o %v\n", o.Path, o.User, o.Group, o.Mode, o.Dir)
	}
	wantOwners := `usr/etc/secret root:mail 100640 false
usr/share/factory/var/lib/all all:mail 42770 true
usr/share/factory/var/lib/all/data all:root 100600 false
`
	if diff := cmp.Diff(wantOwners, owners.String()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/dev/null", "/usr/lib/sysimage/rpm/x", "/var/lib/rpm/Packages"}, res.Dropped); diff != "" {
		t.Error(diff)
	}
	ghosts, err := res.Ghosts()
	ok(t, err)
	if diff := cmp.Diff([]string{"/etc/ghost"}, ghosts); diff != "" {
		t.Error(diff)
	}
	ref := "grove/pkg/all/2_3A1__0-1.noarch"
	if c, err := r.Resolve(ref); err != nil || c != res.Commit {
		t.Errorf("ref %s: %v %v", ref, c, err)
	}
	ok(t, r.Check(context.Background()))
}

// TestSpecialFiles: a tree holds no fifo and no device node; where tmpfiles.d can make them, it does.
func TestSpecialFiles(t *testing.T) {
	r := newRepo(t)
	res, err := importData(r, build(t, fixture.Spec{Name: "special", Files: []fixture.File{
		{Path: "/usr/lib/pipe", Mode: 0o600, Special: fixture.FileFifo},
		{Path: "/var/lib/pipe", Mode: 0o620, Special: fixture.FileFifo, Group: "mail"},
		{Path: "/run/zero", Mode: 0o666, Special: fixture.FileChar, RDev: 1<<8 | 5},
		{Path: "/dev/tty", Mode: 0o666, Special: fixture.FileChar, RDev: 5 << 8},
		{Path: "/usr/lib/plain", Content: []byte("x")},
	}}), importer.Options{})
	ok(t, err)
	if diff := cmp.Diff("c /run/zero 0666 root root - 1:5\np /var/lib/pipe 0620 root mail - -", strings.Join(res.Tmpfiles, "\n")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/dev/tty", "/usr/lib/pipe"}, res.Dropped); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"usr/lib/plain"}, res.Paths); diff != "" {
		t.Error(diff)
	}
}

// TestIMA: signatures of files are kept where it is asked for, but for config files, which people change.
func TestIMA(t *testing.T) {
	spec := fixture.Spec{Name: "ima", Files: []fixture.File{
		{Path: "/etc/ima.conf", Content: []byte("c"), Flags: fixture.FlagConfig, IMA: "0302"},
		{Path: "/etc/ima.sh", Mode: 0o755, Content: []byte("c"), Flags: fixture.FlagConfig, IMA: "0303"},
		{Path: "/usr/bin/ima", Mode: 0o755, Content: []byte("i"), IMA: "030204aa", Caps: "cap_net_raw=p"},
		{Path: "/usr/bin/none", Mode: 0o755, Content: []byte("n")},
		{Path: "/usr/bin/zeros", Mode: 0o755, Content: []byte("z"), IMA: "000000"},
	}}
	r := newRepo(t)
	for _, tt := range []struct {
		keep bool
		want string
	}{
		{false, "/usr/bin/ima security.capability=0000000200200000000000000000000000000000"},
		{true, "/usr/bin/ima security.capability=0000000200200000000000000000000000000000 security.ima=030204aa|/usr/etc/ima.sh security.ima=0303"},
	} {
		res, err := importData(r, build(t, spec), importer.Options{IMA: tt.keep})
		ok(t, err)
		var got []string
		for line := range strings.Lines(describe(t, r, res)) {
			if strings.Contains(line, "security.") {
				got = append(got, strings.TrimSpace(line[strings.Index(line, "/"):]))
			}
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, "|")); diff != "" {
			t.Errorf("keep %v: %s", tt.keep, diff)
		}
	}
	spec.Files[2].IMA = "zz"
	if _, err := importData(r, build(t, spec), importer.Options{IMA: true}); err == nil || !strings.Contains(err.Error(), "/usr/bin/ima: IMA signature") {
		t.Errorf("no hex: %v", err)
	}
}

func TestLoadGivesBackWhatImportGave(t *testing.T) {
	r := newRepo(t)
	data := build(t, everything)
	res, err := importData(r, data, importer.Options{Digest: "abc", NoDocs: true})
	ok(t, err)
	got, err := importer.Load(r, res.Commit)
	ok(t, err)
	same := cmp.Comparer(func(a, b *rpm.Header) bool { return bytes.Equal(a.Blob(), b.Blob()) })
	if diff := cmp.Diff(res, got, same); diff != "" {
		t.Error(diff)
	}
	c, err := r.Commit(res.Commit)
	ok(t, err)
	if c.Subject != "all-2:1_0-1.noarch" || c.Timestamp != fixture.BuildTimeSec {
		t.Errorf("commit %q at %d", c.Subject, c.Timestamp)
	}
	again, err := importData(newRepo(t), data, importer.Options{Digest: "abc", NoDocs: true})
	ok(t, err)
	if again.Commit != res.Commit {
		t.Error("the same package gave another commit")
	}
}

func TestLoadRefusesOtherCommits(t *testing.T) {
	r := newRepo(t)
	tx, err := r.Begin(context.Background())
	ok(t, err)
	root, err := tree.Empty(ostree.DefaultDirMeta()).Write(tx)
	ok(t, err)
	c, err := tx.PutCommit(ostree.Commit{Tree: root.Tree, Meta: root.Meta})
	ok(t, err)
	ok(t, tx.Commit())
	if _, err := importer.Load(r, c); !errors.Is(err, importer.ErrStale) {
		t.Errorf("got %v", err)
	}
	if _, err := importer.Load(r, ostree.Checksum{1}); !errors.Is(err, repo.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestOptionsLeaveFilesOut(t *testing.T) {
	r := newRepo(t)
	for _, c := range []struct {
		o       importer.Options
		want    string
		variant string
	}{
		{importer.Options{NoDocs: true}, "/usr/share/doc/all/README", "nodocs"},
		{importer.Options{Langs: []string{"de"}}, "/usr/share/locale/fr/all.mo", `langs=["de"]`},
		{importer.Options{Langs: []string{}}, "/usr/share/locale/de/all.mo /usr/share/locale/fr/all.mo", "langs=[]"},
		{importer.Options{Skip: []string{"/usr/share", "usr/bin/one"}}, "/usr/bin/one /usr/share/doc/all/README /usr/share/locale/de/all.mo /usr/share/locale/fr/all.mo", `skip=["/usr/share" "usr/bin/one"]`},
	} {
		res, err := importData(r, build(t, everything), c.o)
		ok(t, err)
		if diff := cmp.Diff(c.want, strings.Join(res.Skipped, " ")); diff != "" {
			t.Error(diff)
		}
		if res.Variant != c.variant {
			t.Errorf("variant %q, want %q", res.Variant, c.variant)
		}
		states, err := res.FileStates()
		ok(t, err)
		paths, err := res.Header.Paths()
		ok(t, err)
		for i, p := range paths {
			if (states[i] == 2) != strings.Contains(" "+c.want+" ", " "+p+" ") {
				t.Errorf("%s: state %d", p, states[i])
			}
		}
		for _, p := range strings.Fields(c.want) {
			if _, there, err := tree.Load(r, res.Root).Lookup(p[1:]); err != nil || there {
				t.Errorf("%s is there (%v)", p, err)
			}
		}
	}
}

func TestTwoNamesOfOnePlace(t *testing.T) {
	r := newRepo(t)
	file := func(p, content string) fixture.File {
		return fixture.File{Path: p, Mode: 0o644, Content: []byte(content)}
	}
	for _, c := range []struct {
		name  string
		files []fixture.File
		err   string
	}{
		{"same content", []fixture.File{file("/lib/x", "a"), file("/usr/lib/x", "a")}, ""},
		{"other content", []fixture.File{file("/lib/x", "a"), file("/usr/lib/x", "b")}, "/usr/lib/x: another file of the package is at usr/lib/x too"},
		{"a link to the file", []fixture.File{{Path: "/bin/x", Link: "/usr/bin/x"}, file("/usr/bin/x", "a")}, ""},
		{"a relative link behind the file", []fixture.File{file("/bin/x", "a"), {Path: "/usr/bin/x", Link: "../../bin/x"}}, ""},
		{"outside", []fixture.File{file("/data/x", "a")}, "/data/x: /data/x has no place in an immutable tree (known at the top are usr etc var opt home root srv mnt boot run, and links)"},
		{"a file at the top", []fixture.File{file("/x", "a")}, "/x: /x has no place in an immutable tree (known at the top are usr etc var opt home root srv mnt boot run, and links)"},
		{"a directory at the top", []fixture.File{{Path: "/data", Dir: true}}, "/data: /data has no place in an immutable tree (known at the top are usr etc var opt home root srv mnt boot run, and links)"},
		{"a link at the top", []fixture.File{{Path: "/data", Link: "var/data"}}, ""},
		{"below a file", []fixture.File{file("/usr/x", "a"), file("/usr/x/y", "b")}, `/usr/x/y: usr/x/y: "usr/x" is a file`},
		{"bad capability", []fixture.File{{Path: "/usr/x", Caps: "cap_fly=ep", Content: []byte("x")}}, `/usr/x: capabilities "cap_fly=ep": capability "cap_fly" is not known`},
	} {
		res, err := importData(r, build(t, fixture.Spec{Name: "x", Files: c.files}), importer.Options{})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.err {
			t.Errorf("%s: error %q, want %q", c.name, got, c.err)
		}
		if err != nil {
			continue
		}
		for _, p := range res.Paths {
			e, _, err := tree.Load(r, res.Root).Lookup(p)
			ok(t, err)
			h, _, err := r.FileHeader(e.File)
			ok(t, err)
			if strings.HasSuffix(p, "bin/x") && h.Symlink != "" {
				t.Errorf("%s: the link won", c.name)
			}
		}
	}
}

func TestMapPath(t *testing.T) {
	for in, want := range map[string]string{
		"/etc/hosts": "usr/etc/hosts", "/etc": "", "/bin/sh": "usr/bin/sh", "/sbin/x": "usr/sbin/x", "/lib64/x": "usr/lib64/x", "/libx32/x": "usr/libx32/x",
		"/usr/lib/x": "usr/lib/x", "/var/lib/alternatives/x": "usr/etc/alternatives-state/x", "/var/lib/alternatives": "usr/etc/alternatives-state", "/var/lib/alternatives2": importer.Factory + "/lib/alternatives2", "/boot/x": "usr/lib/ostree-boot/x",
		"/opt/a/b": "usr/lib/opt/a/b", "/root/x": importer.Factory + "/roothome/x", "/usr/local/x": importer.Factory + "/usrlocal/x",
		"/var/run/x": "", "/run/x": "", "/usr/share/rpm/x": "", "/usr/share/rpmlint": "usr/share/rpmlint", "/": "", "/../../etc/x": "usr/etc/x",
		"/bin": "bin", "/data/x": "", "relative": "relative",
	} {
		if got, _ := importer.MapPath(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestDamagedPackageLeavesNothing(t *testing.T) {
	data := build(t, everything)
	r := newRepo(t)
	for _, at := range []int{len(data) - 40, len(data) - 200, len(data) / 2} {
		bad := bytes.Clone(data)
		bad[at] ^= 0x20
		if _, err := importData(r, bad, importer.Options{}); err == nil {
			t.Errorf("damage at %d was not seen", at)
		}
	}
	refs, err := r.Refs("")
	ok(t, err)
	if len(refs) != 0 {
		t.Errorf("refs %v", refs)
	}
	ok(t, r.Check(context.Background()))
}

func FuzzMapPath(f *testing.F) {
	for _, p := range []string{"/etc/x", "/var/run/../x", "/usr/local/../../etc/x", "//opt//x", "/lib", ""} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		got, there := importer.MapPath(p)
		if there != (got != "") || strings.HasPrefix(got, "/") || filepath.Clean("/" + got)[1:] != got && got != "" {
			t.Errorf("%q -> %q", p, got)
		}
	})
}
