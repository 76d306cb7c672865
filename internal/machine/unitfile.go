// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// unitFile is a unit as systemd reads it: settings by section, in order; a later empty one clears those before it.
type unitFile struct {
	settings []setting
}

type setting struct{ section, key, value string }

// Limits of a unit file: the largest of a distribution have a few kB.
const (
	maxUnitBytes = 1 << 20
	maxDropIns   = 256
)

// parseUnit reads the text of a unit file. Continued lines are joined by a blank.
//
//	source  systemd man/systemd.syntax.xml
func parseUnit(text string) (unitFile, error) {
	var u unitFile
	if len(text) > maxUnitBytes {
		return u, fmt.Errorf("unit file of %d bytes: at most %d are read", len(text), maxUnitBytes)
	}
	section, pending := "", ""
	for n, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";") {
			continue // also between continued lines
		}
		if pending != "" {
			trimmed = pending + " " + trimmed
			pending = ""
		}
		if head, ok := strings.CutSuffix(trimmed, `\`); ok {
			pending = strings.TrimRight(head, " \t")
			if pending == "" {
				pending = " "
			}
			continue
		}
		trimmed = strings.TrimSpace(trimmed)
		switch {
		case trimmed == "":
		case strings.HasPrefix(trimmed, "["):
			name, ok := strings.CutSuffix(trimmed[1:], "]")
			if !ok || name == "" {
				return u, fmt.Errorf("line %d: %.40q is no section", n+1, trimmed)
			}
			section = name
		default:
			key, value, ok := strings.Cut(trimmed, "=")
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			if !ok || key == "" || section == "" {
				return u, fmt.Errorf("line %d: %.40q is no KEY=VALUE of a section", n+1, trimmed)
			}
			u.settings = append(u.settings, setting{section, key, value})
		}
	}
	return u, nil
}

// all returns the values of a key; an empty one clears what stands before it.
func (u unitFile) all(section, key string) []string {
	var out []string
	for _, s := range u.settings {
		if s.section != section || s.key != key {
			continue
		}
		if s.value == "" {
			out = nil
			continue
		}
		out = append(out, s.value)
	}
	return out
}

// one returns the last value of a key.
func (u unitFile) one(section, key string) string {
	if all := u.all(section, key); len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

// keys lists the keys of a section in the order of their first use.
func (u unitFile) keys(section string) []string {
	var out []string
	for _, s := range u.settings {
		if s.section == section && !slices.Contains(out, s.key) {
			out = append(out, s.key)
		}
	}
	return out
}

// unitDirs are where a guest has units, the first counts.
//
//	source  systemd man/systemd.unit.xml
var unitDirs = []string{"etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}

// maxAliases bounds how many links lead from a name to its unit file.
const maxAliases = 16

// loadUnit finds a unit of the tree with its drop-ins; links are followed inside the tree only.
//
//	errors  fs.ErrNotExist
func loadUnit(root *os.Root, name string) (unitFile, error) {
	template := templateOf(name)
	text, err := findUnit(root, name, template)
	if err != nil {
		return unitFile{}, err
	}
	u, err := parseUnit(text)
	if err != nil {
		return u, fmt.Errorf("unit %s: %w", name, err)
	}
	for _, dropIn := range dropIns(root, name, template) {
		text, err := readIn(root, dropIn)
		if err != nil {
			return u, fmt.Errorf("unit %s: %s: %w", name, dropIn, err)
		}
		more, err := parseUnit(text)
		if err != nil {
			return u, fmt.Errorf("unit %s: %s: %w", name, dropIn, err)
		}
		u.settings = append(u.settings, more.settings...)
	}
	return u, nil
}

// templateOf is NAME@.service for NAME@INSTANCE.service, else "".
func templateOf(name string) string {
	head, rest, ok := strings.Cut(name, "@")
	if !ok {
		return ""
	}
	return head + "@" + path.Ext(rest)
}

// instanceOf is what stands between @ and the suffix.
func instanceOf(name string) string {
	_, rest, _ := strings.Cut(name, "@")
	return strings.TrimSuffix(rest, path.Ext(rest))
}

// absentError says that the guest lacks something. It is an fs.ErrNotExist.
type absentError struct{ text string }

func (e absentError) Error() string { return e.text }

func (e absentError) Is(target error) bool { return target == fs.ErrNotExist }

func findUnit(root *os.Root, names ...string) (string, error) {
	for _, name := range names {
		if name == "" {
			continue
		}
		for _, dir := range unitDirs {
			text, err := readIn(root, dir+"/"+name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil && text == "" {
				err = absentError{fmt.Sprintf("unit %s is masked in the guest", name)}
			}
			return text, err
		}
	}
	return "", absentError{fmt.Sprintf("unit %s: the guest has none", names[0])}
}

// readIn reads a small file of a tree. Absolute links mean the tree's own root.
func readIn(root *os.Root, name string) (string, error) {
	for range maxAliases {
		st, err := root.Lstat(name)
		if err != nil {
			return "", err
		}
		if st.Mode()&fs.ModeSymlink != 0 {
			target, err := root.Readlink(name)
			if err != nil {
				return "", err
			}
			if target == "/dev/null" {
				return "", nil
			}
			if !path.IsAbs(target) {
				target = path.Join(path.Dir(name), target)
			}
			if name = strings.TrimPrefix(path.Join("/", target), "/"); name == "" {
				return "", fs.ErrNotExist
			}
			continue
		}
		return readRegular(root, name)
	}
	return "", fmt.Errorf("%s: too many symbolic links", name)
}

// readRegular reads a small regular file. The guest may be at work: what was looked at before can be something else by now.
func readRegular(root *os.Root, name string) (string, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxUnitBytes+1))
	if !st.Mode().IsRegular() || len(data) > maxUnitBytes {
		return "", fmt.Errorf("%s is no file of at most %d bytes", name, maxUnitBytes)
	}
	return string(data), err
}

// dropIns lists NAME.d/*.conf by file name; of two with one name, that of the earlier folder counts.
func dropIns(root *os.Root, names ...string) []string {
	found := map[string]string{}
	for _, name := range names {
		if name == "" {
			continue
		}
		for _, dir := range unitDirs {
			f, err := root.Open(dir + "/" + name + ".d")
			if err != nil {
				continue
			}
			ents, _ := f.ReadDir(maxDropIns)
			f.Close()
			for _, e := range ents {
				if _, ok := found[e.Name()]; !ok && strings.HasSuffix(e.Name(), ".conf") {
					found[e.Name()] = dir + "/" + name + ".d/" + e.Name()
				}
			}
		}
	}
	keys := make([]string, 0, len(found))
	for k := range found {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for i, k := range keys {
		keys[i] = found[k]
	}
	return keys
}

// ListServices names the service units of a tree, sorted.
func ListServices(rootDir string) ([]string, error) {
	root, err := os.OpenRoot(rootDir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var out []string
	for _, dir := range unitDirs {
		f, err := root.Open(dir)
		if err != nil {
			continue
		}
		ents, _ := f.ReadDir(-1)
		f.Close()
		for _, e := range ents {
			if strings.HasSuffix(e.Name(), ".service") && !slices.Contains(out, e.Name()) {
				out = append(out, e.Name())
			}
		}
	}
	sort.Strings(out)
	return out, nil
}
