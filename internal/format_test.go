// SPDX-License-Identifier: Apache-2.0

package internal_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/sign"
)

// formatPage is the page whose examples are made here. GROVE_FORMAT=write writes them; any other run fails where the page
// has others.
const formatPage = "../doc/format.md"

// byteRun is a piece of an example with what it is. What the runs hold is put together here by hand: that they are what the
// code writes is the test.
type byteRun struct {
	data  string
	label string
}

func b(n ...byte) string           { return string(n) }
func be(n uint32) string           { return b(byte(n>>24), byte(n>>16), byte(n>>8), byte(n)) }
func sum(c ostree.Checksum) string { return string(c[:]) }
func zeros(n int) string           { return strings.Repeat("\x00", n) }

func joined(runs []byteRun) (all string) {
	for _, r := range runs {
		all += r.data
	}
	return all
}

func hexLines(runs []byteRun) (out string) {
	for _, r := range runs {
		for i := 0; i < len(r.data); i += 16 {
			label := r.label
			if i > 0 {
				label = "..."
			}
			out += strings.TrimRight(fmt.Sprintf("%-48x %s", spaced(r.data[i:min(i+16, len(r.data))]), label), " ") + "\n"
		}
	}
	return out
}

// spaced formats its bytes with a blank between them.
type spaced string

func (s spaced) Format(f fmt.State, _ rune) {
	text := strings.TrimSpace(fmt.Sprintf("% x", string(s)))
	width, _ := f.Width()
	fmt.Fprintf(f, "%-*s", width, text)
}

// sampleTree is what all examples are about: a directory with a symlink a -> b, a file hello and an empty directory sub.
func sampleTree() (h, link ostree.FileHeader, top ostree.DirTree, meta ostree.DirMeta, c ostree.Commit) {
	xs := []ostree.Xattr{{Name: "user.note", Value: []byte("x")}}
	h, link = ostree.FileHeader{Mode: ostree.DefaultFileMode, Xattrs: xs}, ostree.FileHeader{Mode: ostree.SymlinkMode, Symlink: "b"}
	hello, _, _ := h.Sum(strings.NewReader("hello\n"))
	a, _, _ := link.Sum(strings.NewReader(""))
	top = ostree.DirTree{Files: []ostree.TreeFile{{Name: "a", Checksum: a}, {Name: "hello", Checksum: hello}},
		Dirs: []ostree.TreeDir{{Name: "sub", Tree: ostree.DirTree{}.Checksum(), Meta: ostree.DefaultDirMeta().Checksum()}}}
	meta = ostree.DirMeta{Mode: ostree.DefaultDirMode, Xattrs: xs}
	c = ostree.Commit{Metadata: gvariant.Dict{{Key: ostree.KeyVersion, Value: gvariant.String("1")}}, Subject: "s", Timestamp: 1e9, Tree: top.Checksum(), Meta: meta.Checksum()}
	return
}

func TestFormatPage(t *testing.T) {
	h, link, top, meta, c := sampleTree()
	xattrs := []byteRun{{"user.note\x00", "xattrs[0]: name with its NUL"}, {"x", "value"}, {b(10), "end of the name, counted from the start of this pair"}, {b(12), "end of xattrs[0], counted from the start of xattrs"}}
	with := func(first []byteRun, more ...byteRun) []byteRun {
		return append(append([]byteRun{}, first...), append(append([]byteRun{}, xattrs...), more...)...)
	}
	signature, err := sign.SignEd25519(bytes.Repeat([]byte{7}, 32), c.Encode())
	ok(t, err)
	for _, ex := range []struct {
		name string
		data []byte
		runs []byteRun
	}{
		{"file", append(h.Prefix(), "hello\n"...), append(with([]byteRun{
			{be(31), "size of the header in bytes, big-endian"}, {zeros(4), "padding, so that the header is aligned to 8"},
			{be(0), "uid"}, {be(0), "gid"}, {be(0o100644), "mode 0100644"}, {be(0), "rdev, always 0"}, {b(0), "target: an empty string"}},
			byteRun{b(17), "end of the target, counted from the start of the header"}), byteRun{"hello\n", "content"})},
		{"symlink", link.Prefix(), []byteRun{{be(19), "size of the header"}, {zeros(4), "padding"}, {be(0), "uid"}, {be(0), "gid"}, {be(0o120777), "mode 0120777"},
			{be(0), "rdev"}, {"b\x00", "target with its NUL; no xattrs, so no bytes"}, {b(18), "end of the target"}}},
		{"filez", h.ArchivePrefix(6), with([]byteRun{{be(39), "size of the header"}, {zeros(4), "padding"}, {be(0) + be(6), "size of the content, 64 bits, big-endian"}, {be(0), "uid"},
			{be(0), "gid"}, {be(0o100644), "mode"}, {be(0), "rdev"}, {b(0), "target"}}, byteRun{b(25), "end of the target; the raw deflate stream follows"})},
		{"usermeta", ostree.EncodeUserMeta(h), with([]byteRun{{be(0), "uid"}, {be(0), "gid"}, {be(0o100644), "mode"}})},
		{"file-xattrs", ostree.EncodeXattrs(h.Xattrs), xattrs},
		{"dirmeta", meta.Encode(), with([]byteRun{{be(0), "uid"}, {be(0), "gid"}, {be(0o040755), "mode 040755"}})},
		{"dirtree", top.Encode(), []byteRun{
			{"a\x00", "files[0]: name with its NUL"}, {sum(top.Files[0].Checksum), "file object"}, {b(2), "end of the name, counted from the start of this entry"},
			{"hello\x00", "files[1]: name"}, {sum(top.Files[1].Checksum), "file object"}, {b(6), "end of the name"},
			{b(35, 74), "ends of files[0] and files[1], counted from the start of files"},
			{"sub\x00", "dirs[0]: name"}, {sum(top.Dirs[0].Tree), "dirtree (of every empty directory)"}, {sum(top.Dirs[0].Meta), "dirmeta (of every directory 0755 of root)"},
			{b(36, 4), "ends of dirtree and name: in a tuple the table runs backwards"}, {b(70), "end of dirs[0], counted from the start of dirs"}, {b(76), "end of files"}}},
		{"commit", c.Encode(), []byteRun{
			{"version\x00", "metadata[0]: key with its NUL, and the value at a multiple of 8"}, {"1\x00", "value: a string"}, {b(0) + "s", "the value's type, after a zero byte"},
			{b(8), "end of the key"}, {b(13), "end of metadata[0]; no parent and no related objects, so no bytes"}, {"s\x00", "subject"}, {b(0), "body"},
			{zeros(7), "padding, up to a multiple of 8"}, {be(0) + be(1e9), "timestamp, 64 bits, big-endian: 2001-09-09 01:46:40 UTC"},
			{sum(c.Tree), "root dirtree"}, {sum(c.Meta), "root dirmeta"}, {b(64, 17, 16, 14, 14, 14), "ends of root dirtree, body, subject, related, parent, metadata"}}},
		{"tombstone", gvariant.Dict{{Key: "commit", Value: gvariant.Bytes([]byte(c.Checksum().String() + "\x00"))}}.Encode(), []byteRun{
			{"commit\x00", "key"}, {b(0), "padding"}, {c.Checksum().String() + "\x00", "value: the commit in hex, with a NUL"}, {b(0) + "ay", "its type"}, {b(7), "end of the key"}, {b(77), "end of the entry"}}},
		{"commitmeta", ostree.AddSignature(nil, ostree.KeySignEd25519, signature).Encode(), []byteRun{
			{"ostree.sign.ed25519\x00", "key"}, {zeros(4), "padding"}, {string(signature), "value[0]: the signature over the commit's bytes"}, {b(64), "end of value[0]"}, {b(0) + "aay", "the value's type"},
			{b(20), "end of the key"}, {b(94), "end of the entry"}}},
		{"summary", ostree.Summary{Refs: []ostree.SummaryRef{{Name: "main", SizeBytes: uint64(len(c.Encode())), Commit: c.Checksum(),
			Metadata: gvariant.Dict{{Key: ostree.RefCommitTimestamp, Value: ostree.TimeValue(1e9)}}}},
			Metadata: gvariant.Dict{{Key: ostree.SummaryMode, Value: gvariant.String("archive-z2")}}}.Encode(), []byteRun{
			{"main\x00", "refs[0]: name"}, {zeros(3), "padding"}, {b(102) + zeros(7), "size of the commit object, 64 bits, little-endian here"}, {sum(c.Checksum()), "commit"},
			{"ostree.commit.timestamp\x00", "its metadata[0]: key"}, {be(0) + be(1e9), "value: time, big-endian"}, {b(0) + "t", "its type"}, {b(24), "end of the key"}, {b(35), "end of metadata[0]"},
			{b(40), "end of the commit's checksum, counted from its size"}, {b(5), "end of the name"}, {b(86), "end of refs[0]"}, {zeros(1), "padding"},
			{"ostree.summary.mode\x00", "metadata[0]: key"}, {zeros(4), "padding"}, {"archive-z2\x00", "value"}, {b(0) + "s", "its type"}, {b(20), "end of the key"}, {b(38), "end of metadata[0]"}, {b(87), "end of refs"}}},
	} {
		if all := joined(ex.runs); all != string(ex.data) {
			t.Errorf("%s: by hand\n%x\nby the code\n%x", ex.name, all, ex.data)
		}
		name := "SHA-256 of these bytes: " + ostree.SumBytes(ex.data).String() + "\n"
		if ex.name == "usermeta" || ex.name == "filez" || ex.name == "commitmeta" || ex.name == "summary" || ex.name == "tombstone" {
			name = "" // are not named by their own bytes
		}
		onPage(t, ex.name, hexLines(ex.runs)+name)
	}
	onPage(t, "layout", layoutOf(t))
}

// sampleRepo is a repository with the sample tree, committed as main.
func sampleRepo(t *testing.T) (*repo.Repo, ostree.Commit) {
	r, err := repo.Init(filepath.Join(t.TempDir(), "repo"), repo.Archive)
	ok(t, err)
	t.Cleanup(func() { r.Close() })
	h, link, top, meta, c := sampleTree()
	tx, err := r.Begin(context.Background())
	ok(t, err)
	_, err = tx.PutFile(h, 6, strings.NewReader("hello\n"))
	ok(t, err)
	_, err = tx.PutFile(link, 0, nil)
	ok(t, err)
	for _, d := range []ostree.DirTree{top, {}} {
		_, err = tx.PutDirTree(d)
		ok(t, err)
	}
	for _, m := range []ostree.DirMeta{meta, ostree.DefaultDirMeta()} {
		_, err = tx.PutDirMeta(m)
		ok(t, err)
	}
	sum, err := tx.PutCommit(c)
	ok(t, err)
	tx.SetDetached(sum, gvariant.Dict{})
	ok(t, tx.SetRef("main", sum))
	ok(t, tx.SetRef("up:other", sum))
	ok(t, tx.Commit())
	ok(t, r.WriteSummary(context.Background()))
	return r, c
}

// layoutOf lists the files of a repository, each with what it is.
func layoutOf(t *testing.T) string {
	r, _ := sampleRepo(t)
	what := map[string]string{"config": "mode, remotes, settings", "summary": "the refs, for clients over HTTP", "refs/heads/main": "a branch: the commit in hex and a newline",
		"refs/remotes/up/other": "what was pulled from the remote up", "refs/mirrors": "COLLECTION/REF, of mirrored collections", "state": "CHECKSUM.commitpartial: not all of that commit is here",
		"tmp": "what is being written; cache/ of summaries", ".lock": "shared for writers, exclusive for who deletes", "extensions": "of other programs", "tmp/cache": "-", "objects": "-", "refs": "-", "refs/heads": "-", "refs/remotes": "-", "refs/remotes/up": "-"}
	var lines []string
	ok(t, filepath.WalkDir(r.Path(), func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(r.Path(), path)
		label, known := what[rel]
		if rel == "." || label == "-" || strings.HasPrefix(rel, "objects/") && d.IsDir() {
			return err
		}
		if strings.HasPrefix(rel, "objects/") {
			label, known = strings.TrimPrefix(filepath.Ext(rel), "."), true
			rel = rel[:len("objects/xx/")+8] + "…." + label
		}
		if !known {
			t.Errorf("layout: %s is not explained", rel)
		}
		if d.IsDir() {
			rel += "/"
		}
		lines = append(lines, fmt.Sprintf("%-36s %s", rel, label))
		return err
	}))
	return strings.Join(lines, "\n") + "\n"
}

// onPage demands that the page has the example, or puts it there.
func onPage(t *testing.T, name, text string) {
	t.Helper()
	page, err := os.ReadFile(formatPage)
	ok(t, err)
	begin, end := "<!-- "+name+" -->\n```\n", "```\n"
	head, rest, there := strings.Cut(string(page), begin)
	old, foot, closed := strings.Cut(rest, end)
	switch {
	case !there || !closed:
		t.Errorf("%s: no place for it on %s", name, formatPage)
	case os.Getenv("GROVE_FORMAT") == "write":
		ok(t, os.WriteFile(formatPage, []byte(head+begin+text+end+foot), 0o644))
	case old != text:
		t.Errorf("%s: the page (GROVE_FORMAT=write mends it) has\n%s\nwant\n%s", name, old, text)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
