// SPDX-License-Identifier: Apache-2.0

package selinux

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// maxFile bounds each text file of a policy; the largest known file_contexts has 500 kB.
const maxFile = 16 << 20

// ErrNone says that a tree has no policy, or one that is switched off.
var ErrNone = errors.New("no SELinux policy")

// Load reads the policy that a root tree is configured for: SELINUXTYPE of etc/selinux/config, or of usr/etc/selinux/config
// where there is no etc/selinux.
//
//	errors  ErrNone if there is no configuration, or its SELINUX is neither enforcing nor permissive
//	source  ostree src/libostree/ostree-sepolicy.c (initable_init)
func Load(root fs.FS) (*Policy, error) {
	dir := "etc/selinux"
	if _, err := fs.Stat(root, dir); errors.Is(err, fs.ErrNotExist) {
		dir = "usr/etc/selinux"
	}
	config, err := read(root, dir+"/config")
	if err != nil {
		return nil, err
	}
	name, enabled := parseConfig(config)
	if !enabled {
		return nil, fmt.Errorf("%s/config: %w is switched on", dir, ErrNone)
	}
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%s/config: SELINUXTYPE=%q: want the name of a folder beside it", dir, name)
	}
	base := path.Join(dir, name, "contexts/files/file_contexts")
	var f Files
	for _, part := range []struct {
		suffix string
		to     *[]byte
	}{{"", &f.Contexts}, {".homedirs", &f.Homedirs}, {".local", &f.Local}, {".subs", &f.Subs}, {".subs_dist", &f.SubsDist}} {
		*part.to, err = read(root, base+part.suffix)
		if err != nil && (part.suffix == "" || !errors.Is(err, ErrNone)) {
			return nil, err
		}
	}
	p, err := New(f, Options{Name: name})
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", base, err)
	}
	return p, nil
}

// parseConfig reads etc/selinux/config. The last SELINUXTYPE counts; SELINUX is compared by its beginning, as OSTree does.
func parseConfig(text []byte) (name string, enabled bool) {
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "SELINUXTYPE="); ok {
			name = strings.TrimSpace(value)
		} else if value, ok := strings.CutPrefix(line, "SELINUX="); ok {
			value = strings.ToLower(value)
			enabled = enabled || strings.HasPrefix(value, "enforcing") || strings.HasPrefix(value, "permissive")
		}
	}
	return name, enabled
}

// read returns a bounded file; ErrNone if it is not there.
func read(root fs.FS, name string) ([]byte, error) {
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no %s", ErrNone, name)
	}
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read policy %s: %w", name, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("read policy %s: more than %d bytes", name, maxFile)
	}
	return text, nil
}
