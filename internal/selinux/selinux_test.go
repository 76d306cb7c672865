// SPDX-License-Identifier: Apache-2.0

package selinux_test

import (
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"grove/internal/selinux"
)

const (
	anyFile = 0
	regular = 0o100644
	folder  = 0o040755
	link    = 0o120777
)

func policy(t testing.TB, f selinux.Files) *selinux.Policy {
	t.Helper()
	p, err := selinux.New(f, selinux.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWhichEntryWins(t *testing.T) {
	p := policy(t, selinux.Files{
		Contexts: []byte(`# the general first
/.*			u:r:default:s0
/			-d	u:r:root:s0
/usr(/.*)?		u:r:usr:s0
/usr/bin/.*		--	u:r:bin:s0
/usr/bin/tool		u:r:tool:s0
/usr/bin/to.*		u:r:pattern:s0
/usr/lib/[^/]*\.so(\.[^/]*)*	--	u:r:lib:s0
/proc			-d	<<none>>
/proc/.*		<<none>>
/mnt			-d	u:r:mnt:s0
/lost\+found		-d	u:r:lost:s0
/etc(/.*)?		u:r:etc:s0
/etc/passwd		--	u:r:passwd:s0
/home/[^/]+		-d	u:r:home:s0
`),
		Homedirs: []byte("/home/[^/]+/.+	u:r:user:s0\n"),
		Local:    []byte("/usr/bin/tool	u:r:mytool:s0\n/usr/share(/.*)?	u:r:share:s0\n"),
		Subs:     []byte("/srv/home /home\n"),
		SubsDist: []byte("# comes after .subs\n/usr/etc /etc\n/sysroot /\n/sysroot/home /home\n"),
	})
	for _, test := range []struct {
		path string
		mode uint32
		want string
	}{
		{"/", folder, "root"},
		{"/", regular, "default"},
		{"/nothing", regular, "default"},
		{"/usr", folder, "usr"},
		{"/usr//bin/", folder, "usr"},
		{"/usr/bin/cat", regular, "bin"},
		{"/usr/bin/cat", link, "usr"},
		{"/usr/bin/top", regular, "pattern"},
		{"/usr/bin/tool", regular, "mytool"},
		{"/usr/bin/top", link, "pattern"},
		{"/usr/lib/libx.so.1.2", regular, "lib"},
		{"/usr/lib/sub/libx.so.1.2", regular, "usr"},
		{"/usr/lib/libx.so", link, "usr"},
		{"/usr/share/doc", anyFile, "share"},
		{"/usrx", folder, "default"},
		{"/proc/1", folder, ""},
		{"/proc", folder, "mnt"},
		{"/lost+found", folder, "lost"},
		{"/usr/etc/passwd", regular, "passwd"},
		{"/usr/etc", folder, "etc"},
		{"/usr/etcx", folder, "usr"},
		{"/home/anna", folder, "home"},
		{"/srv/home/anna/caf\u00e9", regular, "user"},
		{"/home/\xff", folder, "home"},
		{"/sysroot/home/anna", folder, "home"},
		{"/sysroot/usr/bin/cat", regular, "bin"},
		{"/sysroot", folder, "root"},
	} {
		got, ok := p.Label(test.path, test.mode)
		if want := map[bool]string{true: "u:r:" + test.want + ":s0"}[test.want != ""]; got != want || ok != (want != "") {
			t.Errorf("%s (%o): %q, want %q", test.path, test.mode, got, want)
		}
	}
}

func TestBadPoliciesAreRefused(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "no entry"},
		{"# only words\n\n", "no entry"},
		{"/usr\n", `file_contexts: line 1: "/usr" has no label`},
		{"/ a:b:c:s0\n/usr -x a:b:c:s0\n", `line 2: unknown file type "-x"`},
		{"/usr/( a:b:c:s0\n", "missing closing )"},
		{"/caf\u00e9 a:b:c:s0\n", "not ASCII"},
		{"/(?=x) a:b:c:s0\n", "invalid or unsupported Perl syntax"},
		{`/usr.\ a:b:c:s0`, "ends within an escape"},
		{"*x a:b:c:s0\n", "repeats nothing"},
		{"/a$* a:b:c:s0\n", "a dollar is repeated"},
		{"/" + strings.Repeat("x", 5000) + " a:b:c:s0\n", "want at most 4095"},
	} {
		_, err := selinux.New(selinux.Files{Contexts: []byte(test.text)}, selinux.Options{})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.40q: %v, want %q", test.text, err, test.want)
		}
	}
}

func TestThePolicyOfATree(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for name, test := range map[string]struct {
		root fstest.MapFS
		want string
		none bool
	}{
		"usr/etc": {root: fstest.MapFS{
			"usr/etc/selinux/config":                                          file("# comment\nSELINUX=Enforcing\nSELINUXTYPE= targeted \n"),
			"usr/etc/selinux/targeted/contexts/files/file_contexts":           file("/.* a:b:any:s0\n"),
			"usr/etc/selinux/targeted/contexts/files/file_contexts.subs_dist": file("/y /x\n"),
			"usr/etc/selinux/targeted/contexts/files/file_contexts.local":     file("/x a:b:local:s0\n"),
		}, want: "targeted a:b:local:s0"},
		"etc before usr/etc": {root: fstest.MapFS{
			"etc/selinux/config":                             file("SELINUX=permissive\nSELINUXTYPE=mls\n"),
			"etc/selinux/mls/contexts/files/file_contexts":   file("/.* a:b:mls:s0\n"),
			"usr/etc/selinux/config":                         file("SELINUX=permissive\nSELINUXTYPE=other\n"),
			"usr/etc/selinux/other/contexts/files/unrelated": file(""),
		}, want: "mls a:b:mls:s0"},
		"no configuration": {root: fstest.MapFS{}, want: "no SELinux policy: no usr/etc/selinux/config", none: true},
		"switched off":     {root: fstest.MapFS{"etc/selinux/config": file("SELINUX=disabled\nSELINUXTYPE=x\n")}, want: "etc/selinux/config: no SELinux policy is switched on", none: true},
		"no file_contexts": {root: fstest.MapFS{"etc/selinux/config": file("SELINUX=enforcing\nSELINUXTYPE=x\n")}, want: "no SELinux policy: no etc/selinux/x/contexts/files/file_contexts", none: true},
		"a type that leads out": {root: fstest.MapFS{"etc/selinux/config": file("SELINUX=enforcing\nSELINUXTYPE=../../x\n")},
			want: `etc/selinux/config: SELINUXTYPE="../../x": want the name of a folder beside it`},
	} {
		p, err := selinux.Load(test.root)
		var got string
		if err != nil {
			got = err.Error()
		} else {
			label, _ := p.Label("/y", folder)
			got = p.Name() + " " + label
		}
		if got != test.want || errors.Is(err, selinux.ErrNone) != test.none {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// pieces are joined at random to patterns, and names to paths.
var (
	pieces = []string{"a", "b", "lib", "x.y", `x\.y`, "[ab]", "a?", "a*", ".*", "[^/]*", "(a|b)", "(.*/)?", "a+", `\w+`,
		`lost\+found`, "(/.*)?", "a-b", `a\-b`, "a{2}", "[^a]", `\d+`, "[]]", "a$", `\s?`, "", "a|b", ".", `a\_b`, "[]a]", "[[:alpha:]]b"}
	names = []string{"a", "b", "lib", "x.y", "xzy", "ab", "aa", "lost+found", "lostfound", "a-b", "c", "\u00e9", "a_b", "]", " ", "1", "x", "bb"}
)

func randomPolicy(r *rand.Rand) (f selinux.Files) {
	for i, to := range []*[]byte{&f.Contexts, &f.Homedirs, &f.Local} {
		for n := range 12 {
			var spec strings.Builder
			for range 1 + r.Intn(4) {
				spec.WriteString("/" + pieces[r.Intn(len(pieces))])
			}
			label := fmt.Sprintf("u:r:t%d%d:s0", i, n)
			if r.Intn(6) == 0 {
				label = "<<none>>"
			}
			kind := []string{"", "", "", "--", "-d", "-l", "-c"}[r.Intn(7)]
			line := fmt.Sprintf("%s %s %s\n", spec.String(), kind, label)
			if _, err := selinux.New(selinux.Files{Contexts: []byte(line)}, selinux.Options{}); err == nil {
				*to = append(*to, line...)
			}
		}
	}
	f.Subs = []byte("/a/b /lib\n# x\n/a /\n /b  /a/x.y extra\n")
	f.SubsDist = []byte("/lib /b\n/c\t/a\n/x /a/")
	return f
}

func randomPath(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.Intn(5) {
		b.WriteString("/" + names[r.Intn(len(names))])
		if r.Intn(12) == 0 {
			b.WriteString("/")
		}
	}
	return b.String()
}

// TestManyPaths has the paths of a desktop, 150,000, and 6,000 entries of a policy: with every entry tried for every path it does not end.
func TestManyPaths(t *testing.T) {
	var text strings.Builder
	fmt.Fprintln(&text, "/.* a:b:default:s0\n/usr/.* a:b:usr:s0\n/usr/(.*/)?lib(/.*)? a:b:lib:s0\n/usr/.*\\.cgi -- a:b:cgi:s0")
	for i := range 6000 {
		fmt.Fprintf(&text, "/usr/%s/%c%dprog(-[0-9]+)? -- a:b:t%d:s0\n", []string{"bin", "lib/x", "share/y/z"}[i%3], 'a'+i%26, i, i)
	}
	p := policy(t, selinux.Files{Contexts: []byte(text.String())})
	start := time.Now()
	for i := range 150_000 {
		path := fmt.Sprintf("/usr/%s/%c%dprog-7", []string{"bin", "lib/x", "share/y/z"}[i%3], 'a'+(i%9000)%26, i%9000)
		got, _ := p.Label(path, regular)
		if want := fmt.Sprintf("a:b:t%d:s0", i%9000); i%9000 < 6000 && got != want {
			t.Fatalf("%s: %s, want %s", path, got, want)
		}
	}
	t.Logf("150,000 paths in %v", time.Since(start))
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte("/.* a:b:c:s0\n/usr(/.*)? -d <<none>>\n"), []byte("/a /b\n"), "/usr/x")
	f.Add([]byte(`/a\.b/[^/]*\.so(\.[0-9]+)* -- a:b:c:s0`), []byte("/x /\n/y /z/"), "/x")
	f.Add([]byte("b/[]a]{2,3}(x|y$) a:b:c:s0\n/ a:b:c:s0"), []byte(""), "//")
	f.Fuzz(func(t *testing.T, text, subs []byte, path string) {
		for _, old := range []bool{false, true} {
			p, err := selinux.New(selinux.Files{Contexts: text, Subs: subs, SubsDist: subs}, selinux.Options{Before38: old})
			if err != nil {
				continue
			}
			label, ok := p.Lookup(path, regular)
			if ok != (label != "") {
				t.Errorf("%q: %q, %v", path, label, ok)
			}
		}
	})
}
