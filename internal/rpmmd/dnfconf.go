// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"fmt"
	"strconv"
)

// Main is what the [main] section of a dnf.conf says of packages and sources.
//
//	shape   Weak, Best: nil = it does not say; Protected "" = the same; Parallel 0 = the same
type Main struct {
	Source      Source // what every source is like that does not say otherwise
	Weak        *bool  // install_weak_deps
	Best        *bool
	InstallOnly []string // installonlypkgs, beside dnf's own
	Protected   string   // protected_packages as it is written
	Platform    string   // module_platform_id, without "platform:"
	Parallel    int      // max_parallel_downloads
}

// NewMain is what counts where there is no dnf.conf.
func NewMain() Main { return Main{Source: Defaults()} }

// ParseMain reads the [main] section of a dnf.conf. Keys that are about dnf itself, and those that would not change what grove makes, are
// passed over.
//
//	source  dnf.conf(5), "[main] OPTIONS" and "OPTIONS FOR BOTH [main] AND REPO"
func ParseMain(data []byte, vars Vars) (Main, error) {
	m := NewMain()
	sections, err := parseINI(data)
	if err != nil {
		return m, err
	}
	for _, sec := range sections {
		if sec.name != "main" {
			continue
		}
		for _, e := range sec.entries {
			value, _ := vars.Expand(e.value)
			if set := mainKeys[e.key]; set != nil {
				err = set(&m, value)
			} else if set := repoKeys[e.key]; set != nil && !ownKeys[e.key] {
				err = set(&m.Source, value)
			}
			if err != nil {
				return m, fmt.Errorf("line %d: %s: %w", e.line, e.key, err)
			}
		}
	}
	return m, nil
}

// mainKeys holds how the keys are set that only [main] has.
var mainKeys = map[string]func(*Main, string) error{
	"install_weak_deps":      func(m *Main, v string) error { return boolTo(&m.Weak, v) },
	"best":                   func(m *Main, v string) error { return boolTo(&m.Best, v) },
	"installonlypkgs":        func(m *Main, v string) error { m.InstallOnly = append(m.InstallOnly, list(v)...); return nil },
	"protected_packages":     func(m *Main, v string) error { m.Protected = v; return nil },
	"module_platform_id":     func(m *Main, v string) error { m.Platform = platformName(v); return nil },
	"max_parallel_downloads": func(m *Main, v string) error { return countTo(&m.Parallel, v) },
}

func boolTo(dst **bool, v string) error {
	on, err := boolean(v)
	*dst = &on
	return err
}

func countTo(dst *int, v string) (err error) {
	if *dst, err = strconv.Atoi(v); err == nil && *dst < 1 {
		err = fmt.Errorf("%q is less than 1", v)
	}
	return err
}

// ownKeys only a source itself can have.
var ownKeys = map[string]bool{
	"name": true, "baseurl": true, "mirrorlist": true, "metalink": true, "gpgkey": true, "enabled": true, "priority": true, "cost": true,
	"module_hotfixes": true,
}
