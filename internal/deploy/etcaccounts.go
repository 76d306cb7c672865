// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"grove/internal/accounts"
)

// maxAccountBytes bounds an account file; 100,000 users have 8 MB.
const maxAccountBytes = 32 << 20

// accountFile are the files of /etc that are merged by entry: a new package's user and a local one both stay.
var accountFile = map[string]bool{"passwd": true, "group": true, "shadow": true, "gshadow": true, "subuid": true, "subgid": true}

// mergeAccounts merges the account files into the new etc.
func (c copier) mergeAccounts(t threeEtc, r *Report) error {
	side := func(d opener, l listing) (map[string][]byte, error) {
		out := map[string][]byte{}
		for name := range accountFile {
			if l[name].kind != kindFile {
				continue
			}
			data, err := readAll(d, name)
			if err != nil {
				return nil, err
			}
			out[name] = data
		}
		return out, nil
	}
	old, err := side(t.oldFiles, t.old)
	if err != nil {
		return err
	}
	here, next := &finder{dir: t.localDir}, &finder{dir: t.next}
	defer here.close()
	defer next.close()
	local, err := side(here, t.local)
	if err != nil {
		return err
	}
	new, err := side(next, t.new)
	if err != nil {
		return err
	}
	merged, notes := mergeTexts(old, local, new)
	r.EtcNotes = append(r.EtcNotes, notes...)
	for _, name := range sortedKeys(merged) {
		if err := c.writeAccount(t, name, merged[name]); err != nil {
			return err
		}
		switch {
		case bytes.Equal(merged[name], local[name]):
			if !bytes.Equal(local[name], old[name]) {
				r.EtcKept = append(r.EtcKept, name)
			}
		case bytes.Equal(merged[name], new[name]):
			r.EtcTaken = append(r.EtcTaken, name)
		default:
			r.EtcMerged = append(r.EtcMerged, name)
		}
	}
	sort.Strings(r.EtcKept)
	sort.Strings(r.EtcTaken)
	return nil
}

// mergeTexts merges the account files by entry. Where the default did not change, or a side does not parse, what is
// here stays.
func mergeTexts(old, local, new map[string][]byte) (map[string][]byte, []string) {
	out, notes := map[string][]byte{}, []string(nil)
	for name, text := range new {
		out[name] = text
	}
	for name, text := range local {
		out[name] = text
	}
	changed := false
	for _, name := range []string{"passwd", "group", "shadow", "gshadow"} {
		changed = changed || !bytes.Equal(old[name], new[name])
	}
	if changed {
		if files, said, err := mergeDB(old, local, new); err != nil {
			notes = append(notes, fmt.Sprintf("passwd and its like stay as they are: %v", err))
		} else {
			notes = append(notes, said...)
			for name, text := range files {
				if _, ok := out[name]; ok {
					out[name] = text
				}
			}
		}
	}
	for _, name := range []string{"subuid", "subgid"} {
		if _, ok := local[name]; ok && !bytes.Equal(old[name], new[name]) {
			out[name] = mergeLines(old[name], local[name], new[name])
		}
	}
	return out, notes
}

func mergeDB(old, local, new map[string][]byte) (map[string][]byte, []string, error) {
	var dbs [3]accounts.DB
	for i, side := range []map[string][]byte{old, local, new} {
		var err error
		dbs[i], err = accounts.Parse(accounts.Files{Passwd: side["passwd"], Group: side["group"], Shadow: side["shadow"], Gshadow: side["gshadow"]})
		if err != nil {
			return nil, nil, err
		}
	}
	db, conflicts := accounts.Merge3(dbs[0], dbs[1], dbs[2])
	notes := moved(dbs[1], db)
	for _, c := range conflicts {
		notes = append(notes, "/etc: "+c.String())
	}
	f := db.Format()
	return map[string][]byte{"passwd": f.Passwd, "group": f.Group, "shadow": f.Shadow, "gshadow": f.Gshadow}, notes, nil
}

// moved names the accounts that had another id here: what is in /var keeps the number that it has.
func moved(before, now accounts.DB) []string {
	var notes []string
	for _, u := range before.Users {
		if n, ok := now.User(u.Name); ok && u.Name != "" && n.UID != u.UID {
			notes = append(notes, fmt.Sprintf("user %s had the id %d and has %d now: its files in /etc and /var keep the old number", u.Name, u.UID, n.UID))
		}
	}
	for _, g := range before.Groups {
		if n, ok := now.Group(g.Name); ok && g.Name != "" && n.GID != g.GID {
			notes = append(notes, fmt.Sprintf("group %s had the id %d and has %d now: its files in /etc and /var keep the old number", g.Name, g.GID, n.GID))
		}
	}
	return notes
}

// mergeLines merges subuid-like texts: local lines stay, names that only the new default has are added.
func mergeLines(old, local, new []byte) []byte {
	names := func(text []byte) map[string]bool {
		m := map[string]bool{}
		for _, l := range strings.Split(string(text), "\n") {
			name, _, _ := strings.Cut(l, ":")
			m[name] = true
		}
		return m
	}
	here, before := names(local), names(old)
	out := string(local)
	if out != "" && !strings.HasSuffix(out, "\n") {
		out += "\n"
	}
	for _, l := range strings.Split(string(new), "\n") {
		name, _, _ := strings.Cut(l, ":")
		if l != "" && !here[name] && !before[name] {
			out += l + "\n"
		}
	}
	return []byte(out)
}

// writeAccount puts text in place of the new default, with the local attributes where there is a local file.
func (c copier) writeAccount(t threeEtc, name string, text []byte) error {
	n, ok := t.local[name]
	if !ok || n.kind != kindFile {
		n = t.new[name]
	}
	var labels *os.File // the new default, whose xattrs stay
	if t.new[name].kind == kindFile {
		var err error
		if labels, err = t.next.open(name); err != nil {
			return err
		}
		defer labels.Close()
	}
	if err := removeAt(t.next, name); err != nil && !os.IsNotExist(err) {
		return err
	}
	full := path.Join(t.next.name, name)
	fd, err := unix.Openat(t.next.fd(), name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &fs.PathError{Op: "create", Path: full, Err: err}
	}
	f := os.NewFile(uintptr(fd), full)
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return err
	}
	return c.dress(f, labels, n)
}

func readAll(d opener, name string) ([]byte, error) {
	f, err := d.openPath(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxAccountBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxAccountBytes {
		return nil, fmt.Errorf("read %s: more than %d bytes", name, maxAccountBytes)
	}
	return data, nil
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
