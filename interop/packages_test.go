// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/rpm"
	"grove/internal/sign"
)

// queryFormat asks rpm for all that the table's promise is about: files with modes, owners, flags and capabilities, dependencies of every
// kind, scripts.
const queryFormat = "\f== %{NAME}\n" +
	"[file %{FILENAMES} 0%{FILEMODES:octal} %{FILEUSERNAME} %{FILEGROUPNAME} %{LONGFILESIZES} %{FILEDIGESTS} %{FILEFLAGS} %{FILEVERIFYFLAGS} %{FILELINKTOS}|%{FILECAPS}|%{FILENLINKS}\n]" +
	"[provides %{PROVIDENAME} %{PROVIDEFLAGS} %{PROVIDEVERSION}\n][requires %{REQUIRENAME} %{REQUIREFLAGS} %{REQUIREVERSION}\n]" +
	"[conflicts %{CONFLICTNAME} %{CONFLICTFLAGS} %{CONFLICTVERSION}\n][obsoletes %{OBSOLETENAME} %{OBSOLETEFLAGS} %{OBSOLETEVERSION}\n]" +
	"[recommends %{RECOMMENDNAME} %{RECOMMENDFLAGS} %{RECOMMENDVERSION}\n][suggests %{SUGGESTNAME} %{SUGGESTFLAGS} %{SUGGESTVERSION}\n]" +
	"[supplements %{SUPPLEMENTNAME} %{SUPPLEMENTFLAGS} %{SUPPLEMENTVERSION}\n][enhances %{ENHANCENAME} %{ENHANCEFLAGS} %{ENHANCEVERSION}\n]" +
	"%|PRETRANS?{pretrans [%{PRETRANSPROG} ]\n%{PRETRANS}\n}|%|PREIN?{pre [%{PREINPROG} ]\n%{PREIN}\n}|%|POSTIN?{post [%{POSTINPROG} ]\n%{POSTIN}\n}|" +
	"%|PREUN?{preun [%{PREUNPROG} ]\n%{PREUN}\n}|%|POSTUN?{postun [%{POSTUNPROG} ]\n%{POSTUN}\n}|%|POSTTRANS?{posttrans [%{POSTTRANSPROG} ]\n%{POSTTRANS}\n}|" +
	"%|VERIFYSCRIPT?{verify [%{VERIFYSCRIPTPROG} ]\n%{VERIFYSCRIPT}\n}|"

// otherVerdicts are the packages of which grove says something else than rpm 4.18, each with the reason.
var otherVerdicts = map[string]struct {
	want   rpm.Status
	reason string
}{
	"rpm-basic-with-ecdsa-2.3.4-5.el9.noarch.rpm":             {rpm.Good, "rpm 4.18 of Debian verifies no ECDSA"},
	"hello-2.0-1.x86_64-signed-with-new-subkey.rpm":           {rpm.Good, "this rpm keeps the first certificate of a fingerprint, the one without the subkey; grove puts them together"},
	"hello-2.0-1.x86_64-signed-with-subkey.rpm":               {rpm.DistrustedKey, "the same: one of the certificates revokes the subkey"},
	"v6/signed/rpm-basic-with-ed25519-2.3.4-5.el9.noarch.rpm": {rpm.Good, "rpm 4.18 does not see signatures of OpenPGP version 6"},
	"v6/signed/rpm-basic-with-rsa4k-2.3.4-5.el9.noarch.rpm":   {rpm.Good, "the same"},
	"libhello-1.0.1-1.x86_64.rpm":                             {rpm.UnknownKey, "the same; the key is not in the data"},
}

// TestEveryPackageOfTheTable walks the table of real packages: grove and rpm agree on files, modes, owners, dependencies, scripts, and on
// the verdict over digests and signatures with all keys at hand, and grove reads every payload to its end by the digests of its files, also
// those of format 6, which rpm 4.18 cannot.
func TestEveryPackageOfTheTable(t *testing.T) {
	need(t, "rpm", "rpmkeys")
	dir := sharedFolder(t, "data/rpms")
	table, err := os.ReadFile(filepath.Join(dir, "FEATURES.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	var paths, rows []string
	for _, line := range strings.Split(strings.TrimSpace(string(table)), "\n")[1:] {
		name, _, _ := strings.Cut(line, "\t")
		rows = append(rows, name)
		paths = append(paths, filepath.Join(dir, name))
	}
	db := t.TempDir()
	ring := everyKey(t, db)
	theirs := strings.Split(run(t, "rpm", append([]string{"-qp", "--nosignature", "--nodigest", "--qf", queryFormat}, paths...)...), "\f== ")[1:]
	verdicts := strings.Split(strings.TrimSpace(run(t, "rpmkeys", append([]string{"--dbpath", db, "-K"}, paths...)...)), "\n")
	if len(theirs) != len(paths) || len(verdicts) != len(paths) {
		t.Fatalf("rpm says something of %d and %d packages, the table has %d", len(theirs), len(verdicts), len(paths))
	}
	for i, path := range paths {
		ours, v, err := describe(path, ring)
		if err != nil {
			t.Errorf("%s: %v", rows[i], err)
			continue
		}
		if d := cmp.Diff("== "+theirs[i], ours); d != "" {
			t.Errorf("%s (- rpm, + grove): %s", rows[i], d)
		}
		_, word, _ := strings.Cut(verdicts[i], ".rpm: ")
		want := map[string]rpm.Status{
			"digests OK": rpm.NotSigned, "digests signatures OK": rpm.Good, "digests SIGNATURES NOT OK": rpm.UnknownKey,
			"DIGESTS NOT OK": rpm.DigestMismatch, "DIGESTS SIGNATURES NOT OK": rpm.DigestMismatch,
		}[word]
		for name, e := range otherVerdicts {
			if strings.HasSuffix(rows[i], name) {
				t.Logf("%s: rpm %q, grove %q: %s", rows[i], word, e.want, e.reason)
				want = e.want
			}
		}
		if v.Status != want {
			t.Errorf("%s: %v, rpmkeys: %s", rows[i], v.Err(), word)
		}
	}
	t.Logf("%d packages", len(paths))
}

// run gives a peer's standard output; rpmkeys ends with 1 where one of many packages is bad.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String()
}

// everyKey reads all public keys of the shared data, and imports into rpm's database those that it takes.
func everyKey(t *testing.T, db string) sign.Keyring {
	t.Helper()
	var files []string
	var all sign.Keyring
	for _, top := range []string{"data/keys", "data/rpms/rpm-rs", "data/rpms/createrepo_c"} {
		err := filepath.WalkDir(sharedFolder(t, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, ".rpm") {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil || !bytes.Contains(data, []byte("BEGIN PGP PUBLIC")) {
				return err
			}
			k, err := sign.ParseKeyring(data)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			files = append(files, path)
			all = all.Merge(k)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	run(t, "rpmkeys", append([]string{"--dbpath", db, "--import"}, files...)...)
	all.Legacy = true
	return all
}

// describe says of a package what queryFormat asks rpm for, and reads it to its end.
func describe(path string, ring sign.Keyring) (string, rpm.Verdict, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", rpm.Verdict{}, err
	}
	defer f.Close()
	p, err := rpm.ReadPackage(f)
	if err != nil {
		return "", rpm.Verdict{}, err
	}
	text, err := asQueried(p)
	if err != nil {
		return "", rpm.Verdict{}, err
	}
	v, err := p.Verify(f, ring.VerifyFunc())
	if err == nil && v.Status != rpm.DigestMismatch {
		err = readPayload(p, f)
	}
	return text, v, err
}

func asQueried(p *rpm.Package) (string, error) {
	h := p.Header
	var b strings.Builder
	fmt.Fprintf(&b, "== %s\n", h.NEVRA().Name)
	files, err := h.Files()
	if err != nil {
		return "", err
	}
	for i := range files {
		f := &files[i]
		caps := "(none)"
		if h.Has(rpm.TagFileCaps) {
			caps = f.Caps
		}
		fmt.Fprintf(&b, "file %s 0%o %s %s %d %s %d %d %s|%s|%d\n", f.Path, f.Mode, f.User, f.Group, f.SizeBytes, f.Digest, f.Flags, f.VerifyFlags, f.LinkTo, caps, f.NLink)
	}
	for _, k := range []struct {
		word string
		kind rpm.DepKind
	}{{"provides", rpm.Provides}, {"requires", rpm.Requires}, {"conflicts", rpm.Conflicts}, {"obsoletes", rpm.Obsoletes},
		{"recommends", rpm.Recommends}, {"suggests", rpm.Suggests}, {"supplements", rpm.Supplements}, {"enhances", rpm.Enhances}} {
		deps, err := h.Deps(k.kind)
		if region, _, _ := h.Region(); region == 0 && k.kind == rpm.Provides { // rpm adds there what such old packages lack
			m, errMeta := p.Meta()
			deps, err = m.Provides, errMeta
		}
		if err != nil {
			return "", err
		}
		for _, d := range deps {
			evr := d.EVR.Version
			if d.EVR.Release != "" {
				evr += "-" + d.EVR.Release
			}
			if d.EVR.Epoch != "" {
				evr = d.EVR.Epoch + ":" + evr
			}
			fmt.Fprintf(&b, "%s %s %d %s\n", k.word, d.Name, d.Flags, evr)
		}
	}
	scripts, err := h.Scriptlets()
	if err != nil {
		return "", err
	}
	for _, kind := range []string{"pretrans", "pre", "post", "preun", "postun", "posttrans", "verify"} {
		for _, s := range scripts {
			if s.Kind == kind && s.Body != "" {
				fmt.Fprintf(&b, "%s %s \n%s\n", kind, strings.Join(s.Prog, " "), s.Body)
			}
		}
	}
	return b.String(), nil
}

// readPayload reads all files, which compares each with its digest; all of the header's must be there, but for ghosts.
func readPayload(p *rpm.Package, f *os.File) error {
	if _, err := f.Seek(p.HeaderEnd, io.SeekStart); err != nil {
		return err
	}
	files, err := p.Header.Files()
	if err != nil {
		return err
	}
	want := 0
	for i := range files {
		if !files[i].IsGhost() {
			want++
		}
	}
	payload, err := p.Payload(f)
	if err != nil {
		return err
	}
	defer payload.Close()
	for {
		file, content, err := payload.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			_, err = io.Copy(io.Discard, content)
		}
		if err != nil {
			return err
		}
		want -= max(1, len(file.Links))
	}
	if want != 0 {
		return fmt.Errorf("%d files of the header are not in the payload", want)
	}
	return nil
}

// TestMalformedFolder hands every file of the folder of broken things to what reads such a file: it is refused, in bounded time and memory.
func TestMalformedFolder(t *testing.T) {
	need(t)
	dir := sharedFolder(t, "data/malformed")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	pkg := func(path string) error {
		_, v, err := describe(path, sign.Keyring{})
		if v.Status == rpm.DigestMismatch {
			err = errors.Join(err, v.Err())
		}
		return err
	}
	// A certificate whose subkey is bound by a forged signature: the subkey vouches for nothing.
	forged := func(path string) error {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		ring, err := sign.ParseKeyring(data)
		if err != nil {
			return err
		}
		_, v, err := describe(filepath.Join(dir, "../rpms/rpm-upstream/hello-2.0-1.x86_64-signed-with-new-subkey.rpm"), ring)
		return errors.Join(v.Err(), err)
	}
	// A repository whose commit has a path that leads out of it.
	traversal := func(path string) error {
		s := newSite(t)
		if out, err := exec.Command("tar", "-C", s.path(), "-xzf", path).CombinedOutput(); err != nil {
			t.Fatalf("tar: %v: %s", err, out)
		}
		repos, _ := filepath.Glob(s.path("*", "repo", "config"))
		if len(repos) != 1 {
			t.Fatalf("%d repositories in %s", len(repos), path)
		}
		repo := filepath.Dir(repos[0])
		refs, errs, code := s.try("repo", "refs", "--repo", repo)
		if code == 0 {
			ref, _, _ := strings.Cut(strings.TrimSpace(refs), "\n")
			_, errs, code = s.try("repo", "checkout", "--repo", repo, ref, s.path("out"))
		}
		if code == 0 {
			return nil
		}
		return errors.New(errs)
	}
	for name, c := range map[string]struct {
		read func(string) error
		want string // "" = nothing is wrong with it
	}{
		"CVE-2021-3521-badbind.asc":        {forged, "unknown key"},
		"Rimmer-1.0.2-2.x86_64.rpm":        {pkg, ""}, // other readers fall over it; rpm installs it
		"hello-2.0-1.x86_64-corrupted.rpm": {pkg, "payload sha256: digest mismatch"},
		"ostree-path-traverse.tar.gz":      {traversal, `name "../afile" has a slash`},
		"signed_broken.rpm":                {pkg, "got 1837 bytes, want 1836"},
		"syft-bad.rpm":                     {pkg, "not an rpm package"},
		"unsigned_broken.rpm":              {pkg, "got 1269 bytes, want 1268"},
		"unsigned_broken_header.rpm":       {pkg, "header sha256: digest mismatch"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := c.read(filepath.Join(dir, name))
		runtime.ReadMemStats(&after)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
			t.Errorf("%s: took %d bytes of memory", name, n)
		}
		entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == name })
	}
	for _, e := range entries {
		t.Errorf("%s: no test knows what is wrong with it", e.Name())
	}
}
