// SPDX-License-Identifier: Apache-2.0

package rpm_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/rpm"
)

// shared gives a folder of real data that is not part of the project.
func shared(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("GROVE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	dir := filepath.Join(root, "data", name)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("needs real data: %v", err)
	}
	return dir
}

func sharedPackages(t testing.TB) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(shared(t, "rpms"), func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".rpm") {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func peer(t *testing.T, name string, args ...string) (stdout, stderr string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatalf("needs %s", name)
		}
		t.Skipf("needs %s", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String()
}

func open(t testing.TB, path string) (*os.File, *rpm.Package) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	p, err := rpm.ReadPackage(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return f, p
}

// readAll reads a payload to its end and gives the number of files handed out.
func readAll(p *rpm.Package, r io.Reader) (int, error) {
	pl, err := p.Payload(r)
	if err != nil {
		return 0, err
	}
	defer pl.Close()
	for n := 0; ; {
		f, content, err := pl.Next()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return n, err
		}
		n += max(1, len(f.Links))
	}
}

// TestFeatures compares with the facts that were found by other tools for each real package.
func TestFeatures(t *testing.T) {
	dir := shared(t, "rpms")
	table, err := os.ReadFile(filepath.Join(dir, "FEATURES.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(table)), "\n")
	column := map[string]int{}
	for i, name := range strings.Split(lines[0], "\t") {
		column[name] = i
	}
	for _, line := range lines[1:] {
		row := strings.Split(line, "\t")
		get := func(name string) string { return row[column[name]] }
		f, p := open(t, filepath.Join(dir, get("file")))
		h := p.Header
		comp := h.String(rpm.TagPayloadCompressor)
		if want := strings.TrimRight(get("comp"), "0123456789"); comp != want && comp != "bzip2" && !(comp == "" && strings.HasPrefix(want, "gzip")) {
			t.Errorf("%s: compressor %q, want %q", get("file"), comp, want)
		}
		files, err := h.Files()
		if err != nil {
			t.Errorf("%s: %v", get("file"), err)
		}
		ghosts, caps, links := 0, 0, 0
		for i := range files {
			if files[i].IsGhost() {
				ghosts++
			}
			if files[i].Caps != "" {
				caps++
			}
			if files[i].NLink > 1 {
				links++
			}
		}
		got := fmt.Sprintf("files %d ghost %d caps %d", len(files), ghosts, caps)
		if want := fmt.Sprintf("files %s ghost %s caps %s", get("nfiles"), get("ghost"), get("caps")); got != want {
			t.Errorf("%s: %s, want %s", get("file"), got, want)
		}
		if (links > 0) != (get("hardlinks") != "0") {
			t.Errorf("%s: %d hard links, want %s", get("file"), links, get("hardlinks"))
		}
		damaged := strings.Contains(get("rpmkeys"), "DIGESTS")
		n, err := readAll(p, f)
		if (err != nil) != damaged {
			t.Errorf("%s: %s: payload: %v", get("file"), get("rpmkeys"), err)
		}
		if err == nil && n != len(files)-ghosts {
			t.Errorf("%s: %d files in the payload, want %d", get("file"), n, len(files)-ghosts)
		}
		v, err := p.Verify(f, nil)
		if err != nil {
			t.Errorf("%s: %v", get("file"), err)
		}
		if (v.Status == rpm.DigestMismatch) != damaged {
			t.Errorf("%s: %s, want %s", get("file"), v.Err(), get("rpmkeys"))
		}
	}
}

// TestMalformed demands a refusal, or a clean verdict.
func TestMalformed(t *testing.T) {
	dir := shared(t, "malformed")
	paths, _ := filepath.Glob(filepath.Join(dir, "*.rpm"))
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		refused := judgeBytes(data)
		if refused == nil && !strings.HasPrefix(filepath.Base(path), "Rimmer") { // whose only fault is in its metadata
			t.Errorf("%s: not refused", path)
		}
	}
}

// judgeBytes reads all of a package and says why it is refused.
func judgeBytes(data []byte) error {
	r := bytes.NewReader(data)
	p, err := rpm.ReadPackage(r)
	if err != nil {
		return err
	}
	if _, err := p.Meta(); err != nil {
		return err
	}
	_, errTriggers := p.Header.Triggers()
	_, errScripts := p.Header.Scriptlets()
	_, errChanges := p.Header.Changelog()
	v, err := p.Verify(bytes.NewReader(data), nil)
	if err == nil && v.Status == rpm.DigestMismatch {
		err = v.Err()
	}
	_, errPayload := readAll(p, r)
	return errors.Join(errTriggers, errScripts, errChanges, err, errPayload)
}
