// SPDX-License-Identifier: Apache-2.0

package manifest

import "go.yaml.in/yaml/v4"

func (d *decoder) modules(n *yaml.Node) (Modules, error) {
	var m Modules
	err := d.mapping(n, func(key string, at, v *yaml.Node) (err error) {
		switch key {
		case "enable":
			m.Enable, err = d.stringList(Key{Name: key, Type: typeNames}, v)
			m.Enable = unique(m.Enable)
		case "install":
			m.Install, err = d.stringList(Key{Name: key, Type: typeNames}, v)
			m.Install = unique(m.Install)
		case "disable":
			m.Disable, err = d.stringList(Key{Name: key, Type: typeNames}, v)
			m.Disable = unique(m.Disable)
		default:
			err = d.errorf(at, "unknown key %q; wanted enable, install, disable", key)
		}
		return err
	})
	return m, err
}

func modulesNode(m Modules) *yaml.Node {
	n := pairs()
	if r := stringsNode("", m.Enable); r != nil {
		n.Content = append(n.Content, str("enable"), r)
	}
	if r := stringsNode("", m.Install); r != nil {
		n.Content = append(n.Content, str("install"), r)
	}
	if r := stringsNode("", m.Disable); r != nil {
		n.Content = append(n.Content, str("disable"), r)
	}
	if len(n.Content) == 0 {
		return nil
	}
	return n
}
