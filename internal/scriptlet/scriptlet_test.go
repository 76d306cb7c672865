// SPDX-License-Identifier: Apache-2.0

package scriptlet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"grove/internal/fixture/hostroot"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"grove/internal/fixture"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/rpm"
	"grove/internal/sandbox"
	"grove/internal/scriptlet"
	"grove/internal/tree"
)

func TestMain(m *testing.M) {
	sandbox.Child(scriptlet.Builtins())
	os.Exit(m.Run())
}

func header(t testing.TB, s fixture.Spec) *rpm.Header {
	t.Helper()
	data, err := fixture.RPM(s)
	if err != nil {
		t.Fatal(err)
	}
	p, err := rpm.ReadPackage(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return p.Header
}

func newPackage(t testing.TB, s fixture.Spec) scriptlet.Package {
	h := header(t, s)
	return scriptlet.Package{NEVRA: h.NEVRA(), Header: h}
}

func scripted(t testing.TB, name, kind, prog, body string) scriptlet.Package {
	return newPackage(t, fixture.Spec{Name: name, Scripts: []fixture.Script{{Kind: kind, Prog: prog, Body: body}}})
}

// world is a repo with a tree in it and its checkout with hard links.
type world struct {
	repo *repo.Repo
	tx   *repo.Tx
	tree *tree.Tree
	o    scriptlet.Options
}

func newWorld(t testing.TB, programs ...string) *world {
	t.Helper()
	hostroot.NeedRoot(t)
	ctx := context.Background()
	source := hostroot.Make(t, programs...)
	os.WriteFile(filepath.Join(source, "usr/bin/ln2"), []byte("x"), 0o755)
	os.WriteFile(filepath.Join(source, "usr/etc/shadow"), []byte("root:*:19000:0:99999:7:::\n"), 0o600)
	dir := t.TempDir()
	r, err := repo.Init(filepath.Join(dir, "repo"), repo.Bare)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := r.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	root, err := r.CommitTree(ctx, tx, source, repo.CommitTreeOptions{})
	if err == nil {
		var c ostree.Checksum
		if c, err = tx.PutCommit(ostree.Commit{Tree: root.Tree, Meta: root.Meta}); err == nil {
			err = errors.Join(tx.SetRef("base", c), tx.Commit())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &world{repo: r}
	w.o = scriptlet.Options{Root: filepath.Join(dir, "root"), Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
		SourceDate: 20000 * 86400, Timeout: 30 * time.Second}
	os.Mkdir(w.o.Upper, 0o755)
	os.Mkdir(w.o.Work, 0o755)
	if err := r.Checkout(ctx, root, w.o.Root, repo.CheckoutOptions{}); err != nil {
		t.Fatal(err)
	}
	if w.tx, err = r.Begin(ctx); err != nil {
		t.Fatal(err)
	}
	w.tree = tree.Load(w.tx, root)
	return w
}

func (w *world) run(t testing.TB, packages ...scriptlet.Package) (scriptlet.Report, error) {
	t.Helper()
	w.o.New = packages
	report, err := scriptlet.Run(context.Background(), w.o)
	if errors.Is(err, sandbox.ErrNotPermitted) && os.Getenv("GROVE_CI") != "1" {
		t.Skip(err)
	}
	return report, err
}

// collect gives the difference as text.
func (w *world) collect(t testing.TB) string {
	t.Helper()
	after, left, err := scriptlet.Collect(context.Background(), w.tx, w.tree, scriptlet.CollectOptions{Upper: w.o.Upper, SourceDate: w.o.SourceDate})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := after.Write(w.tx); err != nil {
		t.Fatal(err)
	}
	changes, err := tree.Diff(w.tree, after)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&out, "%s %s", c.Kind, c.Path)
		if e := c.New; c.Kind != tree.Removed && e.Dir {
			fmt.Fprintf(&out, " %o %d:%d", e.Meta.Mode, e.Meta.UID, e.Meta.GID)
		} else if c.Kind != tree.Removed {
			h, size, err := w.tx.FileHeader(e.File)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, " %o %d:%d %d", h.Mode, h.UID, h.GID, size)
			if h.Symlink != "" {
				out.WriteString(" -> " + h.Symlink)
			}
			for _, x := range h.Xattrs {
				out.WriteString(" " + x.Name)
			}
		}
		out.WriteString("\n")
	}
	for _, p := range left {
		out.WriteString("left " + p + "\n")
	}
	return out.String()
}

func (w *world) check(t testing.TB) {
	t.Helper()
	if err := w.tx.Abort(); err != nil {
		t.Fatal(err)
	}
	if err := w.repo.Check(context.Background()); err != nil {
		t.Errorf("the repo was damaged: %v", err)
	}
}

func TestWhatIsWrittenBecomesATree(t *testing.T) {
	w := newWorld(t, "mkdir", "rm", "chmod", "chown", "ln", "touch", "mkfifo", "mv", "cat", "date")
	p := scripted(t, "a", "post", "/bin/sh", `set -e
		echo x >> /etc/passwd; : > /etc/passwd-; : > /etc/.pwd.lock; echo "new:*:20500:0:99999:7:::" >> /etc/shadow
		mkdir -p /var/lib/a/b; echo v > /var/lib/a/f; chown 7:8 /var/lib/a/f; chmod 4750 /var/lib/a/f; touch /var/tmp/t /run/r /tmp/t
		ln -s ../b /usr/lib/link; rm /usr/bin/mv; mkfifo /usr/lib/fifo; echo new > /usr/bin/mkfifo
		mkdir /usr/share/d; rm -r /usr/share/d; mkdir /usr/share/d; echo 1 > /usr/share/d/1
		mkdir /var/log; date > /var/log/a.log; chmod 700 /usr/share; mkdir /var/lib/rpm-state/x; rm -rf /usr/lib64/*; [ -e /run/ostree-booted ] && exit 1
		:`)
	p.Owners = []scriptlet.Owner{{Path: "usr/bin/ln2", User: "bob", Group: "wheel", Mode: 0o102755, Caps: []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")},
		{Path: "usr/bin/rm", User: "nobody-here", Group: "root", Mode: 0o100755}}
	report, err := w.run(t, p)
	if err != nil {
		t.Fatal(err)
	}
	got := w.collect(t)
	want := `M usr/bin/ln2 102755 1000:10 TOUCH security.capability
M usr/bin/mkfifo 100755 0:0 4
D usr/bin/mv
M usr/etc/passwd 100644 0:0 PASSWD
M usr/etc/shadow 100600 0:0 51
A usr/lib/link 120777 0:0 0 -> ../b
D usr/lib64/ld-linux-x86-64.so.2
m usr/share 40700 0:0
A usr/share/d 40755 0:0
A usr/share/d/1 100644 0:0 2
A usr/share/factory/var/lib 40755 0:0
A usr/share/factory/var/lib/a 40755 0:0
A usr/share/factory/var/lib/a/b 40755 0:0
A usr/share/factory/var/lib/a/f 104750 7:8 2
A usr/share/factory/var/log 40755 0:0
A usr/share/factory/var/log/a.log 100644 0:0 0
left usr/etc/.pwd.lock
left usr/etc/passwd-
left usr/share/factory/var/lib/rpm-state
left usr/share/factory/var/tmp
left usr/lib/fifo
`
	got = blank(blank(got, "usr/bin/ln2", "TOUCH"), "usr/etc/passwd", "PASSWD")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if fmt.Sprint(report.Ran) != "[owners of files(a-1.0-1.noarch) %post(a-1.0-1.noarch)]" || fmt.Sprint(report.Warnings) != "[user nobody-here does not exist - using root]" {
		t.Errorf("%+v", report)
	}
	w.check(t)
}

// blank replaces the size in the line of a path.
func blank(text, path, word string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		f := strings.Fields(l)
		if len(f) > 4 && f[1] == path {
			f[4] = word
			lines[i] = strings.Join(f, " ")
		}
	}
	return strings.Join(lines, "\n")
}

func TestFailures(t *testing.T) {
	w := newWorld(t, "sleep")
	w.o.Timeout = 300 * time.Millisecond
	tests := []struct{ kind, prog, body, want string }{ // what is no Failure is a warning
		{"pre", "/bin/sh", "echo before; nope; exit 3", "%pre(x-1.0-1.noarch): exit 3:\nbefore\n/tmp/rpm-tmp.scriptlet: line 1: nope: command not found"},
		{"post", "/usr/bin/perl", "1", "%post(x-1.0-1.noarch): /usr/bin/perl is missing"},
		{"post", "/sbin/ldconfig", "", "%post(x-1.0-1.noarch): /sbin/ldconfig is missing"},
		{"posttrans", "/bin/sh", "sleep 100", "%posttrans(x-1.0-1.noarch): not finished after 300ms"},
		{"post", "/bin/sh", "kill -11 $$", "%post(x-1.0-1.noarch): killed by signal 11"},
		{"pre", "<lua>", "error('FATAL: kernel too old', 0)", "%pre(x-1.0-1.noarch): exit 1:\nlua script failed: FATAL: kernel too old"},
		{"post", "/bin/sh", "", ""},
	}
	for _, c := range tests {
		report, err := w.run(t, scripted(t, "x", c.kind, c.prog, c.body))
		got := strings.Join(report.Warnings, "|")
		if c.kind == "pre" {
			got = fmt.Sprint(err)
			var f *scriptlet.Failure
			if !errors.As(err, &f) {
				t.Errorf("%v is no Failure", err)
			}
		} else if err != nil {
			t.Errorf("%s %s: %v", c.kind, c.body, err)
		}
		if got != c.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", c.kind, c.body, got, c.want)
		}
		if c.want != "" && !strings.HasPrefix(string(report.Log), strings.SplitN(c.want, "\n", 2)[0][:8]) {
			t.Errorf("log: %s", report.Log)
		}
	}
	w.check(t)
}

// TestOrder compares with what rpm 4.18 does (interop: TestScriptletOrder runs it). A trigger on /usr/share/bb is not run for a file of that
// very name in a package that rpm finds through its database.
func TestOrder(t *testing.T) {
	w := newWorld(t)
	spec := func(n string) fixture.Spec {
		s := fixture.Spec{Name: n, Version: "1", Files: []fixture.File{{Path: "/usr/share/" + n, Dir: true, Mode: 0o755}, {Path: "/usr/share/" + n + "-file", Mode: 0o644}}}
		for _, k := range []string{"pretrans", "pre", "post", "posttrans"} {
			s.Scripts = append(s.Scripts, fixture.Script{Kind: k, Prog: "<lua>", Body: log(n + " " + k)})
		}
		trigger := func(kind string, priority int, what string, on ...string) {
			s.Triggers = append(s.Triggers, fixture.Trigger{Kind: kind, Priority: priority, On: on, Prog: "<lua>", Body: log(n + " " + kind + " " + what)})
		}
		trigger("triggerprein", 0, "aa,bb", "aa", "bb")
		trigger("triggerin", 0, "aa", "aa")
		trigger("triggerin", 0, "bb", "bb > 0")
		trigger("triggerin", 0, "old", "bb < 1", "aa < 1")
		trigger("filetriggerin", 0, "", "/usr/share")
		trigger("filetriggerin", 500, "low", "/usr/share/aa", "/usr/share/bb", "/usr/lib")
		trigger("filetriggerin", 2000000, "high", "/usr/share/"+n)
		trigger("transfiletriggerin", 100, "low", "/usr/share/bb")
		trigger("transfiletriggerin", 0, "", "/usr/share")
		trigger("transfiletriggerin", 2000000, "base", "/usr/share/base")
		return s
	}
	w.o.Installed = []*rpm.Header{header(t, spec("base"))}
	report, err := w.run(t, newPackage(t, spec("bb")), newPackage(t, spec("aa")))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSpace(`
base triggerprein aa,bb 1 0
bb pre 1 nil
bb filetriggerin high 0 nil /usr/share/bb /usr/share/bb-file
base filetriggerin  0 nil /usr/share/bb /usr/share/bb-file
bb filetriggerin  0 nil /usr/share/bb /usr/share/bb-file
bb filetriggerin  0 nil /usr/share/base /usr/share/base-file
bb post 1 nil
base triggerin bb 1 1
bb triggerin bb 1 1
bb triggerin bb 1 1
base filetriggerin low 0 nil /usr/share/bb /usr/share/bb-file
bb filetriggerin low 0 nil /usr/share/bb /usr/share/bb-file
base triggerprein aa,bb 1 0
bb triggerprein aa,bb 1 0
aa triggerprein aa,bb 0 1
aa pre 1 nil
aa filetriggerin high 0 nil /usr/share/aa /usr/share/aa-file
base filetriggerin  0 nil /usr/share/aa /usr/share/aa-file
bb filetriggerin  0 nil /usr/share/aa /usr/share/aa-file
aa filetriggerin  0 nil /usr/share/aa /usr/share/aa-file
aa filetriggerin  0 nil /usr/share/base /usr/share/base-file /usr/share/bb /usr/share/bb-file
aa post 1 nil
base triggerin aa 1 1
bb triggerin aa 1 1
aa triggerin aa 1 1
aa triggerin aa 1 1
aa triggerin bb 1 1
base filetriggerin low 0 nil /usr/share/aa /usr/share/aa-file
bb filetriggerin low 0 nil /usr/share/aa /usr/share/aa-file
aa filetriggerin low 0 nil /usr/share/aa /usr/share/aa-file
bb posttrans 1 nil
aa posttrans 1 nil
base transfiletriggerin  0 nil /usr/share/bb /usr/share/bb-file /usr/share/aa /usr/share/aa-file
bb transfiletriggerin  0 nil /usr/share/base /usr/share/base-file /usr/share/bb /usr/share/bb-file /usr/share/aa /usr/share/aa-file
aa transfiletriggerin  0 nil /usr/share/base /usr/share/base-file /usr/share/bb /usr/share/bb-file /usr/share/aa /usr/share/aa-file`)
	data, err := os.ReadFile(filepath.Join(w.o.Upper, "usr/lib/log"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(data)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if len(report.Warnings) != 0 {
		t.Errorf("warnings %q", report.Warnings)
	}
}

// log is a Lua script that notes its arguments and files.
func log(what string) string {
	return `local f = io.open("/usr/lib/log", "a") f:write("` + what + ` ", tostring(arg[2]), " ", tostring(arg[3]))
		for name in rpm.next_file do f:write(" ", name) end f:write("\n") f:close()`
}

// An account that %pre makes in its own way stays as it is; what sysusers.d says is for those that are missing, and there
// before files get their owners.
func TestSysusersComeAfterPre(t *testing.T) {
	w := newWorld(t)
	own := scripted(t, "a", "pre", "/bin/sh", `echo "ida:x:501:501::/srv/ida:/bin/sh" >> /etc/passwd; echo "ida:x:501:" >> /etc/group`)
	own.Sysusers = []string{"u ida 77 - /var/lib/ida", "u ada 78 - /var/lib/ada", "nonsense line"}
	own.Owners = []scriptlet.Owner{{Path: "usr/bin/ln2", User: "ada", Group: "ida", Mode: 0o100755}}
	report, err := w.run(t, own)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.collect(t); !strings.Contains(got, "M usr/bin/ln2 100755 78:501 1\n") {
		t.Errorf("got\n%s", got)
	}
	text, err := os.ReadFile(filepath.Join(w.o.Upper, "usr/etc/passwd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"ida:x:501:501::/srv/ida:/bin/sh", "ada:x:78:78::/var/lib/ada:/usr/sbin/nologin"} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
	if len(report.Warnings) != 1 || !strings.Contains(report.Warnings[0], "nonsense") {
		t.Errorf("warnings %q", report.Warnings)
	}
	w.check(t)
}

func TestSameInputSameTree(t *testing.T) {
	var first string
	for i := range 2 {
		w := newWorld(t, "mkdir", "touch")
		_, err := w.run(t, scripted(t, "a", "post", "/bin/sh", `for i in 1 2 3 4 5; do mkdir -p /usr/lib/$i; echo $i > /usr/lib/$i/f; done
			echo "u$i:!:$((RANDOM)):0:::::" >> /etc/shadow`),
			scripted(t, "b", "post", "<lua>", `local pid = posix.fork() if pid == 0 then posix.exec("/bin/sh", "-c", "echo x > /usr/lib/x") end posix.wait(pid)`))
		if err != nil {
			t.Fatal(err)
		}
		got := w.collect(t)
		if i == 0 {
			first = got
		} else if got != first {
			t.Errorf("got\n%s\nwant\n%s", got, first)
		}
		if !strings.Contains(got, "A usr/lib/x ") {
			t.Error(got)
		}
	}
}

func BenchmarkScriptlets(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(b)
			var packages []scriptlet.Package
			for i := range n {
				packages = append(packages, scripted(b, fmt.Sprint("p", i), "post", "/bin/sh", ":"))
			}
			for range b.N {
				if _, err := w.run(b, packages...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
