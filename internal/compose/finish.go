// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"

	"grove/internal/importer"
	"grove/internal/ostree"
	"grove/internal/tree"
)

// factory is where the tree keeps what a guest's /var is filled from.
const factory = "usr/share/factory/var"

// topDirs are the directories that every root has, as mount points or for themselves.
var topDirs = []struct {
	path string
	mode uint32
}{
	{"boot", 0o755}, {"dev", 0o755}, {"proc", 0o555}, {"run", 0o755}, {"sys", 0o555}, {"sysroot", 0o755}, {"tmp", 0o1777}, {"var", 0o755},
	{factory, 0o755}, {factory + "/home", 0o755}, {factory + "/lib", 0o755}, {factory + "/log", 0o755}, {factory + "/mnt", 0o755},
	{factory + "/opt", 0o755}, {factory + "/roothome", 0o700}, {factory + "/srv", 0o755}, {factory + "/tmp", 0o1777}, {factory + "/usrlocal", 0o755},
}

// topLinks lead what a person may write at the top into /var, as on every OSTree system (FIELD 6.5).
var topLinks = map[string]string{
	"home": "var/home", "mnt": "var/mnt", "opt": "var/opt", "root": "var/roothome", "srv": "var/srv",
	"media": "run/media", "ostree": "sysroot/ostree", "usr/local": "../var/usrlocal",
	factory + "/run": "../run", factory + "/lock": "../run/lock",
}

// leftovers are what scriptlets and package tools leave behind that must not be in a tree: the one is
// random, the other belongs to the moment.
var leftovers = []string{
	"usr/etc/.pwd.lock", "usr/etc/passwd-", "usr/etc/group-", "usr/etc/shadow-", "usr/etc/gshadow-", "usr/etc/subuid-", "usr/etc/subgid-",
	factory + "/cache/ldconfig/aux-cache", factory + "/lib/systemd/random-seed", factory + "/lib/rpm-state",
}

// finish gives the tree its last shape.
func finish(_ context.Context, b *build) error {
	edit := b.tree.Edit()
	for _, p := range leftovers {
		_ = edit.Remove(p) // most trees have none of them
	}
	if b.o.Base == nil {
		if err := b.topLevel(edit); err != nil {
			return err
		}
		if err := b.machineID(edit); err != nil {
			return err
		}
	}
	if err := b.moduleFiles(edit); err != nil {
		return err
	}
	if err := b.unitsAndTarget(edit); err != nil {
		return err
	}
	if err := b.mutateOSRelease(edit); err != nil {
		return err
	}
	if err := b.addFiles(edit); err != nil {
		return err
	}
	for _, p := range b.m.RemoveFiles {
		if err := edit.Remove(treePath(p)); err != nil {
			return fmt.Errorf("remove-files: %w", err)
		}
	}
	b.tree = edit.Tree()
	return b.tmpfiles()
}

// topLevel makes the directories and links of an immutable tree where the packages brought none.
func (b *build) topLevel(edit *tree.Editor) error {
	for _, d := range topDirs {
		if e, ok, err := b.tree.Lookup(d.path); err != nil {
			return err
		} else if ok && (!e.Dir || d.path != "tmp" && d.path != factory+"/tmp") {
			continue
		}
		if err := edit.PutDir(d.path, dirMeta(d.mode)); err != nil {
			return err
		}
	}
	for _, p := range sortedKeys(topLinks) {
		if _, ok, err := b.tree.Lookup(p); err != nil {
			return err
		} else if ok {
			continue
		}
		if err := b.putLink(edit, p, topLinks[p]); err != nil {
			return err
		}
	}
	return nil
}

// machineID leaves an empty /etc/machine-id, which systemd fills in each guest for itself; an id that a
// scriptlet made would be the same in all guests.
func (b *build) machineID(edit *tree.Editor) error {
	if b.m.MachineIDCompat != nil && !*b.m.MachineIDCompat {
		_ = edit.Remove("usr/etc/machine-id")
		return nil
	}
	return b.putText(edit, "usr/etc/machine-id", nil)
}

// unitsAndTarget enables the manifest's units and sets its default target.
func (b *build) unitsAndTarget(edit *tree.Editor) error {
	const system = "usr/etc/systemd/system"
	for _, u := range b.m.Units {
		if !unitName(u) {
			return fmt.Errorf("units: %q is no unit's name", u)
		}
		if err := b.putLink(edit, system+"/multi-user.target.wants/"+u, "/usr/lib/systemd/system/"+u); err != nil {
			return err
		}
	}
	if t := b.m.DefaultTarget; t != "" {
		if !unitName(t) {
			return fmt.Errorf("default-target: %q is no unit's name", t)
		}
		return b.putLink(edit, system+"/default.target", "/usr/lib/systemd/system/"+t)
	}
	return nil
}

// unitName is true for what may be a unit's name, such as sshd.service. Source: systemd.unit(5).
func unitName(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(`:-_.\@`, c) {
			return false
		}
	}
	dot := strings.LastIndexByte(s, '.')
	return dot > 0 && dot < len(s)-1 && len(s) < 256
}

// addFiles copies the files that stand beside the manifest.
func (b *build) addFiles(edit *tree.Editor) error {
	for _, f := range b.m.AddFiles {
		data, err := b.readFile(f[0])
		if err != nil {
			return fmt.Errorf("add-files: %w", err)
		}
		mode := uint32(0o100644)
		if bytes.HasPrefix(data, []byte("#!")) {
			mode = 0o100755
		}
		c, err := b.tx.PutFile(ostree.FileHeader{Mode: mode}, int64(len(data)), bytes.NewReader(data))
		if err != nil {
			return err
		}
		if err := edit.PutFile(treePath(f[1]), c); err != nil {
			return err
		}
	}
	return nil
}

// treePath is where a path of the guest lies in its tree.
func treePath(p string) string {
	p = strings.TrimPrefix(path.Clean("/"+p), "/")
	switch p {
	case "etc":
		return "usr/etc"
	case "var":
		return factory
	}
	if mapped, ok := importer.MapPath(p); ok {
		return mapped
	}
	return p
}

// Files of tmpfiles.d that grove writes: for systems that boot the tree without grove, which fills /var itself.
const (
	varConf = "usr/lib/tmpfiles.d/grove-var.conf"
	runConf = "usr/lib/tmpfiles.d/grove-run.conf"
)

// tmpfiles writes down what /var and /run are to hold.
func (b *build) tmpfiles() error {
	edit := b.tree.Edit()
	lines, err := b.varLines()
	if err != nil {
		return err
	}
	if len(lines) > 0 {
		if err := b.putText(edit, varConf, join("# Content of /var, from "+"/"+factory+".", lines)); err != nil {
			return err
		}
	}
	old, _, err := b.readTreeFile(b.tree, runConf)
	if err != nil {
		return err
	}
	set := map[string]bool{}
	for _, l := range strings.Split(string(old), "\n") {
		if l != "" && !strings.HasPrefix(l, "#") {
			set[l] = true
		}
	}
	for _, p := range b.packages {
		for _, l := range p.Tmpfiles {
			set[l] = true
		}
	}
	if len(set) > 0 {
		if err := b.putText(edit, runConf, join("# Directories of /run that packages bring.", sortedKeys(set))); err != nil {
			return err
		}
	}
	b.tree = edit.Tree()
	return nil
}

func join(comment string, lines []string) []byte {
	sort.Strings(lines)
	return []byte(comment + "\n" + strings.Join(lines, "\n") + "\n")
}

// varLines are a line for each directory, link and file of the factory content.
func (b *build) varLines() ([]string, error) {
	sub, err := b.tree.Sub(factory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no package has anything in /var
	}
	if err != nil {
		return nil, err
	}
	var lines []string
	err = sub.Walk(func(p string, e tree.Entry) error {
		if p == "" {
			return nil
		}
		name := escapeTmpfiles("/var/" + p)
		if e.Dir {
			lines = append(lines, fmt.Sprintf("d %s %04o %d %d - -", name, e.Meta.Mode&0o7777, e.Meta.UID, e.Meta.GID))
			return nil
		}
		h, _, err := b.tx.FileHeader(e.File)
		if err != nil {
			return err
		}
		if h.Symlink != "" {
			lines = append(lines, fmt.Sprintf("L %s - - - - %s", name, strings.ReplaceAll(h.Symlink, "%", "%%")))
			return nil
		}
		lines = append(lines, fmt.Sprintf("C %s %04o %d %d - -", name, h.Mode&0o7777, h.UID, h.GID))
		return nil
	})
	return lines, err
}

// escapeTmpfiles writes a path as tmpfiles.d(5) wants it: blanks and backslashes escaped, % doubled.
func escapeTmpfiles(p string) string {
	return strings.NewReplacer(`\`, `\\`, " ", `\x20`, "\t", `\t`, "\n", `\n`, "%", "%%", `"`, `\"`).Replace(p)
}
