// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// maxComps bounds a groups file; Fedora's is 2 MiB.
const maxComps = 64 << 20

type xmlText struct {
	Lang string `xml:"lang,attr"`
	Text string `xml:",chardata"`
}

type xmlComps struct {
	XMLName xml.Name `xml:"comps"`
	Groups  []struct {
		ID          string    `xml:"id"`
		Name        []xmlText `xml:"name"`
		Description []xmlText `xml:"description"`
		Visible     string    `xml:"uservisible"`
		Packages    []struct {
			Type     string `xml:"type,attr"`
			Requires string `xml:"requires,attr"`
			Name     string `xml:",chardata"`
		} `xml:"packagelist>packagereq"`
	} `xml:"group"`
	Environments []struct {
		ID          string    `xml:"id"`
		Name        []xmlText `xml:"name"`
		Description []xmlText `xml:"description"`
		Groups      []string  `xml:"grouplist>groupid"`
		Options     []struct {
			Default string `xml:"default,attr"`
			ID      string `xml:",chardata"`
		} `xml:"optionlist>groupid"`
	} `xml:"environment"`
}

// ParseComps reads the groups and environments of a comps.xml.
//
//	source  libcomps; dnf's comps.py for the meaning of the package types
func ParseComps(data []byte) ([]Group, []Environment, error) {
	var x xmlComps
	if err := unmarshal(data, &x); err != nil {
		return nil, nil, fmt.Errorf("comps: %w", err)
	}
	var groups []Group
	for i, g := range x.Groups {
		out := Group{ID: strings.TrimSpace(g.ID), Name: untranslated(g.Name), Description: untranslated(g.Description), UserVisible: strings.TrimSpace(g.Visible) != "false"}
		if out.ID == "" {
			return nil, nil, fmt.Errorf("comps: group %d has no id", i+1)
		}
		for _, p := range g.Packages {
			name := strings.TrimSpace(p.Name)
			if name == "" {
				continue
			}
			switch p.Type {
			case "mandatory", "":
				out.Mandatory = append(out.Mandatory, name)
			case "default":
				out.Default = append(out.Default, name)
			case "optional":
				out.Optional = append(out.Optional, name)
			case "conditional":
				out.Conditional = append(out.Conditional, Conditional{name, p.Requires})
			}
		}
		groups = append(groups, out)
	}
	var envs []Environment
	for i, e := range x.Environments {
		out := Environment{ID: strings.TrimSpace(e.ID), Name: untranslated(e.Name), Description: untranslated(e.Description)}
		if out.ID == "" {
			return nil, nil, fmt.Errorf("comps: environment %d has no id", i+1)
		}
		for _, g := range e.Groups {
			out.Groups = append(out.Groups, strings.TrimSpace(g))
		}
		for _, o := range e.Options {
			id := strings.TrimSpace(o.ID)
			out.Options = append(out.Options, id)
			if o.Default == "true" {
				out.DefaultOptions = append(out.DefaultOptions, id)
			}
		}
		envs = append(envs, out)
	}
	return groups, envs, nil
}

func untranslated(all []xmlText) string {
	for _, t := range all {
		if t.Lang == "" {
			return strings.TrimSpace(t.Text)
		}
	}
	return ""
}
