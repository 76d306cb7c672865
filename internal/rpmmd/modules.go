// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// Limits of modules.yaml; that of EL 8 has 500 documents and 10 MiB.
const (
	maxModules     = 64 << 20
	maxModuleDocs  = 50_000
	maxModuleNodes = 10_000_000
)

// Module is one build of a module's stream.
//
//	shape   Requires: alternatives; each maps a module to the streams that will do (none: any; "-x": not x). Artifacts: NEVRAs of
//	        binary packages, with epoch. Profiles: names of packages
//	source  modulemd v2; libmodulemd yaml_specs/modulemd_stream_v2.yaml
type Module struct {
	Name, Stream, Context, Arch string
	Version                     uint64
	Requires                    []map[string][]string `json:",omitempty"`
	Profiles                    map[string][]string   `json:",omitempty"`
	Artifacts                   []string              `json:",omitempty"`
	Demodularized               []string              `json:",omitempty"` // names that non-modular packages have again
}

// ModuleDefault says which stream of a module is there unless somebody chooses, and which profiles of its streams.
type ModuleDefault struct {
	Module, Stream string
	Profiles       map[string][]string `json:",omitempty"` // stream -> profiles
}

// ParseModules reads a modules.yaml. Documents of other kinds are passed over.
func ParseModules(r io.Reader) (modules []Module, defaults []ModuleDefault, err error) {
	data, err := io.ReadAll(io.LimitReader(r, maxModules+1))
	if err != nil {
		return nil, nil, err
	}
	if len(data) > maxModules {
		return nil, nil, fmt.Errorf("modules: more than %d bytes", maxModules)
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	p := modulesParser{left: maxModuleNodes}
	for n := 1; ; n++ {
		var doc yaml.Node
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return p.modules, p.defaults, nil
		}
		if err == nil && n > maxModuleDocs {
			err = fmt.Errorf("more than %d documents", maxModuleDocs)
		}
		if err == nil {
			err = p.document(&doc)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("modules: document %d: %w", n, err)
		}
	}
}

type modulesParser struct {
	modules  []Module
	defaults []ModuleDefault
	left     int
}

func (p *modulesParser) document(doc *yaml.Node) error {
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil // an empty one
	}
	var kind, version string
	var data *yaml.Node
	err := p.each(doc.Content[0], func(key string, v *yaml.Node) (err error) {
		switch key {
		case "document":
			kind, err = p.text(v)
		case "version":
			version, err = p.text(v)
		case "data":
			data = v
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case kind == "modulemd" && version == "2":
		return p.module(data)
	case kind == "modulemd-defaults" && version == "1":
		return p.moduleDefault(data)
	}
	return nil
}

func (p *modulesParser) module(data *yaml.Node) error {
	var m Module
	err := p.each(data, func(key string, v *yaml.Node) (err error) {
		switch key {
		case "name":
			m.Name, err = p.text(v)
		case "stream":
			m.Stream, err = p.text(v)
		case "context":
			m.Context, err = p.text(v)
		case "arch":
			m.Arch, err = p.text(v)
		case "version":
			var s string
			if s, err = p.text(v); err == nil {
				m.Version, err = strconv.ParseUint(s, 10, 64)
			}
		case "dependencies":
			err = p.items(v, func(v *yaml.Node) error { return p.dependency(&m, v) })
		case "profiles":
			m.Profiles = map[string][]string{}
			err = p.each(v, func(name string, v *yaml.Node) (err error) {
				m.Profiles[name], err = p.rpms(v)
				return err
			})
		case "artifacts":
			m.Artifacts, err = p.rpms(v)
		case "demodularized":
			m.Demodularized, err = p.rpms(v)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return nil
	})
	if err == nil && (m.Name == "" || m.Stream == "") {
		err = errors.New("a module without name or stream")
	}
	m.Artifacts = binaries(m.Artifacts)
	p.modules = append(p.modules, m)
	return err
}

func (p *modulesParser) dependency(m *Module, v *yaml.Node) error {
	return p.each(v, func(key string, v *yaml.Node) error {
		if key != "requires" {
			return nil
		}
		needs := map[string][]string{}
		err := p.each(v, func(name string, v *yaml.Node) (err error) {
			needs[name], err = p.texts(v)
			return err
		})
		m.Requires = append(m.Requires, needs)
		return err
	})
}

func (p *modulesParser) moduleDefault(data *yaml.Node) error {
	var d ModuleDefault
	err := p.each(data, func(key string, v *yaml.Node) (err error) {
		switch key {
		case "module":
			d.Module, err = p.text(v)
		case "stream":
			d.Stream, err = p.text(v)
		case "profiles":
			d.Profiles = map[string][]string{}
			err = p.each(v, func(stream string, v *yaml.Node) (err error) {
				d.Profiles[stream], err = p.texts(v)
				return err
			})
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return nil
	})
	if err == nil && d.Module == "" {
		err = errors.New("defaults without a module")
	}
	p.defaults = append(p.defaults, d)
	return err
}

// rpms reads the list `rpms` of a mapping.
func (p *modulesParser) rpms(n *yaml.Node) (list []string, err error) {
	err = p.each(n, func(key string, v *yaml.Node) (err error) {
		if key == "rpms" {
			list, err = p.texts(v)
		}
		return err
	})
	return list, err
}

// each calls f for each entry of a mapping; nothing is an empty one.
func (p *modulesParser) each(n *yaml.Node, f func(key string, v *yaml.Node) error) error {
	if n == nil || n.Kind == yaml.ScalarNode && (n.Value == "" || n.ShortTag() == "!!null") {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: no mapping", n.Line)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, err := p.text(n.Content[i])
		if err == nil {
			err = f(key, n.Content[i+1])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *modulesParser) items(n *yaml.Node, f func(*yaml.Node) error) error {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return fmt.Errorf("line %d: no list", n.Line)
	}
	for _, v := range n.Content {
		if err := f(v); err != nil {
			return err
		}
	}
	return nil
}

func (p *modulesParser) texts(n *yaml.Node) (list []string, err error) {
	err = p.items(n, func(v *yaml.Node) error {
		s, err := p.text(v)
		list = append(list, s)
		return err
	})
	return list, err
}

// text gives a scalar as it is written: a stream "1.10" is no number. Aliases, which could multiply the work, are refused.
func (p *modulesParser) text(n *yaml.Node) (string, error) {
	if p.left--; p.left < 0 {
		return "", fmt.Errorf("more than %d values", maxModuleNodes)
	}
	if n.Kind != yaml.ScalarNode {
		return "", fmt.Errorf("line %d: no text", n.Line)
	}
	return n.Value, nil
}
