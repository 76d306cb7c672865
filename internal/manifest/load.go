// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Limits. The largest real treefile (Silverblue's packages) has 40 kB; a manifest is read by people.
const (
	maxFile   = 1 << 20
	maxFiles  = 200    // fedora-coreos-config has 25
	maxNodes  = 200000 // values of all files together
	maxString = 256 << 10
	maxName   = 1024
	maxDepth  = 20
)

// Load reads the treefile called name in fsys with all it includes, for one architecture (as uname -m gives it).
// A name that ends in .json, or a text that is JSON, is read as JSON; anything else as YAML.
//
//	errors  fs.ErrNotExist for the file or an included one; all others are texts that begin with FILE:LINE
func Load(fsys fs.FS, name, arch string) (Manifest, error) {
	l := newLoader(fsys, arch)
	top, err := l.file(path.Clean(name), nil, 0)
	if err != nil {
		return Manifest{}, err
	}
	return l.finish(top)
}

// Parse is Load for a manifest that stands alone; include keys are refused. The name is for error texts.
func Parse(data []byte, name, arch string) (Manifest, error) {
	l := newLoader(nil, arch)
	top, err := l.data(path.Clean(name), data, nil, 0)
	if err != nil {
		return Manifest{}, err
	}
	return l.finish(top)
}

type loader struct {
	fsys fs.FS // nil = no includes
	arch string
	left int
	read []string
}

func newLoader(fsys fs.FS, arch string) *loader {
	return &loader{fsys: fsys, arch: BaseArch(arch), left: maxNodes}
}

func (l *loader) finish(top *layer) (Manifest, error) {
	m := top.Manifest
	slices.Sort(m.Ignored)
	m.Files = l.read
	if err := expand(&m, l.variables(m.Variables, m.Releasever)); err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", l.read[0], err)
	}
	if err := m.check(); err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", l.read[0], err)
	}
	return m, nil
}

func (l *loader) file(name string, vars map[string]any, depth int) (*layer, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: includes nested deeper than %d", name, maxDepth)
	}
	if slices.Contains(l.read, name) {
		return nil, fmt.Errorf("%s: included twice", name)
	}
	if strings.HasSuffix(name, ".ks") {
		return nil, fmt.Errorf("%s: kickstart files are not read; write the packages into a treefile", name)
	}
	f, err := l.fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open manifest: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", name, err)
	}
	return l.data(name, data, vars, depth)
}

func (l *loader) data(name string, data []byte, vars map[string]any, depth int) (*layer, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: longer than %d bytes", name, maxFile)
	}
	if l.read = append(l.read, name); len(l.read) > maxFiles {
		return nil, fmt.Errorf("%s: more than %d files", name, maxFiles)
	}
	if strings.HasSuffix(name, ".json") || json.Valid(data) {
		// JSON allows tabs between values, YAML does not; a JSON string holds none.
		data = bytes.ReplaceAll(data, []byte("\t"), []byte(" "))
	}
	d := &decoder{file: name, dir: path.Dir(name), arch: l.arch, left: &l.left}
	var doc yaml.Node
	if !blank(data) {
		if err := yaml.Load(data, &doc); err != nil {
			return nil, fmt.Errorf("%s: %s", name, strings.ReplaceAll(err.Error(), "\n", " "))
		}
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		return &layer{set: map[string]bool{}}, nil
	}
	return l.layer(d, doc.Content[0], vars, depth)
}

// blank tells whether there is nothing but comments.
func blank(data []byte) bool {
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

// layer decodes one treefile's map and puts what it includes under it.
func (l *loader) layer(d *decoder, n *yaml.Node, vars map[string]any, depth int) (*layer, error) {
	if depth > maxDepth {
		return nil, d.errorf(n, "includes nested deeper than %d", maxDepth)
	}
	own := &layer{set: map[string]bool{}}
	includes := map[string]*yaml.Node{}
	written := map[string]string{}
	err := d.mapping(n, func(key string, at, v *yaml.Node) error {
		k, ok := findKey(key)
		if !ok {
			return d.errorf(at, "unknown key %q%s", key, didYouMean(key))
		}
		id := k.Name
		if id == "packages-ARCH" {
			id = key
		}
		if other, ok := written[id]; ok {
			return d.errorf(at, "%q and %q are the same key", other, key)
		}
		written[id] = key
		switch {
		case k.Ignored != "":
			own.Ignored = append(own.Ignored, k.Name)
			return nil
		case isNull(v):
			return nil
		case k.field == nil:
			includes[k.Name] = v
			return nil
		case k.Name == "packages-ARCH":
			return d.archPackages(own, k, key, v)
		}
		own.set[k.Name] = true
		return d.value(k, v, k.field(&own.Manifest))
	})
	if err != nil {
		return nil, err
	}
	return own, l.includes(d, own, includes, vars, depth)
}

func (d *decoder) archPackages(own *layer, k Key, key string, v *yaml.Node) error {
	into := &own.Packages
	if strings.TrimPrefix(key, "packages-") != d.arch {
		into = new([]string) // still checked
	}
	return d.value(k, v, into)
}

func (l *loader) includes(d *decoder, own *layer, at map[string]*yaml.Node, vars map[string]any, depth int) error {
	if len(at) == 0 {
		return nil
	}
	// A variable that the including file sets wins, so that a top file can steer the ones below it.
	scope := func() map[string]any {
		return underlay(vars, l.variables(own.Variables, own.Releasever))
	}
	one := func(n *yaml.Node) error { return l.include(d, own, n, scope(), depth) }
	if n := at["include"]; n != nil {
		if err := one(n); err != nil {
			return err
		}
	}
	if n := at["arch-include"]; n != nil {
		if err := d.mapping(n, func(arch string, _, v *yaml.Node) error {
			if arch != l.arch {
				return nil
			}
			return one(v)
		}); err != nil {
			return err
		}
	}
	if n := at["conditional-include"]; n != nil {
		return l.conditional(d, n, scope, one)
	}
	return nil
}

// include merges what one value of include names: a file, several, or a treefile in place.
func (l *loader) include(d *decoder, own *layer, n *yaml.Node, vars map[string]any, depth int) error {
	n, err := d.step(n)
	if err != nil || isNull(n) {
		return err
	}
	var parent *layer
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if item.Kind == yaml.SequenceNode {
				return d.errorf(item, "got a list within a list of files")
			}
			if err := l.include(d, own, item, vars, depth); err != nil {
				return err
			}
		}
		return nil
	case yaml.MappingNode:
		parent, err = l.layer(d, n, vars, depth+1)
	default:
		if l.fsys == nil {
			return d.errorf(n, "a manifest that stands alone cannot include %s", kindName(n))
		}
		var name string
		if name, err = d.text(n); err != nil {
			return err
		}
		if name, err = d.path(n, name); err != nil {
			return err
		}
		if parent, err = l.file(name, vars, depth+1); err != nil {
			return fmt.Errorf("%s:%d: %w", d.file, n.Line, err)
		}
	}
	if err != nil {
		return err
	}
	own.inherit(parent)
	return nil
}

// check finds what only the whole shows.
func (m Manifest) check() error {
	for _, p := range m.Packages {
		if slices.Contains(m.ExcludePackages, p) {
			return fmt.Errorf("package %q stands in packages and in exclude-packages", p)
		}
	}
	if strings.ContainsAny(m.Base, " \t\r\n") {
		return fmt.Errorf("base: got %q, wanted REMOTE:REF or a ref", m.Base)
	}
	if m.Base != "" {
		if _, ref := m.BaseRemote(); ref == "" || strings.HasPrefix(m.Base, ":") {
			return fmt.Errorf("base: got %q, wanted REMOTE:REF or a ref", m.Base)
		}
	}
	if m.Edition != "" && m.Edition != "2014" && m.Edition != "2024" {
		return fmt.Errorf("edition: got %q, wanted 2014 or 2024", m.Edition)
	}
	if m.OptUsrlocal != "" && m.OptUsrlocal != "var" && m.OptUsrlocal != "root" && m.OptUsrlocal != "stateoverlay" {
		return fmt.Errorf("opt-usrlocal: got %q, wanted var or root", m.OptUsrlocal)
	}
	return nil
}
