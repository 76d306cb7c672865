// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of a .repo file.
const (
	maxRepoFile = 4 << 20 // the largest seen in the wild is below 100 KiB
	maxSources  = 10_000
	maxRetries  = 100
)

// Defaults of dnf.conf(5). GPGCheck is on where a file says nothing: distributions set it so in dnf.conf.
const (
	defaultPriority = 99
	defaultCost     = 1000
	defaultExpire   = 48 * time.Hour
)

// Defaults are what sources have where their .repo files say nothing.
func Defaults() Source {
	return Source{Enabled: true, GPGCheck: true, Priority: defaultPriority, Cost: defaultCost, MetadataExpire: defaultExpire}
}

// ParseRepoFile reads a .repo file. Warnings name keys and variables that mean nothing here; they do no harm.
//
//	shape   INI: [id] sections, key=value, lines that begin with a blank go on with the value above, # and ; begin a comment line;
//	        [main] is skipped
func ParseRepoFile(data []byte, vars Vars) (sources []Source, warnings []string, err error) {
	return Defaults().ParseRepoFile(data, vars)
}

// ParseRepoFile reads a .repo file whose sources are like s where it says nothing.
func (s Source) ParseRepoFile(data []byte, vars Vars) (sources []Source, warnings []string, err error) {
	sections, err := parseINI(data)
	if err != nil {
		return nil, nil, err
	}
	seen := map[string]bool{}
	for _, sec := range sections {
		if sec.name == "main" {
			continue
		}
		id, _ := vars.Expand(sec.name)
		if err := checkID(id); err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", sec.line, err)
		}
		if seen[id] {
			return nil, nil, fmt.Errorf("line %d: source %q is there twice", sec.line, id)
		}
		seen[id] = true
		one := s
		one.ID, one.Name = id, id
		one.ExcludePkgs, one.IncludePkgs = slices.Clip(s.ExcludePkgs), slices.Clip(s.IncludePkgs)
		more, err := one.set(sec, vars)
		if err != nil {
			return nil, nil, err
		}
		warnings = append(warnings, more...)
		sources = append(sources, one)
	}
	return sources, warnings, nil
}

// set takes over what a section says.
func (s *Source) set(sec section, vars Vars) (warnings []string, err error) {
	for _, e := range sec.entries {
		value, unknown := vars.Expand(e.value)
		for _, u := range unknown {
			warnings = append(warnings, fmt.Sprintf("line %d: %s: variable %s is not known", e.line, e.key, u))
		}
		set, ok := repoKeys[e.key]
		if !ok {
			warnings = append(warnings, fmt.Sprintf("line %d: key %q is not known", e.line, e.key))
			continue
		}
		if set == nil {
			continue
		}
		if err := set(s, value); err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", e.line, e.key, err)
		}
	}
	if len(s.BaseURLs) == 0 && s.Mirrorlist == "" && s.Metalink == "" {
		warnings = append(warnings, fmt.Sprintf("line %d: source %s has no baseurl, mirrorlist or metalink", sec.line, s.ID))
	}
	return warnings, nil
}

// checkID takes what dnf takes: letters, digits and -_.: only, so that it can be part of a file name.
func checkID(id string) error {
	ok := id != "" && len(id) <= 200 && id[0] != '.'
	for i := 0; i < len(id) && ok; i++ {
		c := id[i]
		ok = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("-_.:", c) >= 0
	}
	if !ok {
		return fmt.Errorf("source id %.60q: letters, digits, - _ . and : only", id)
	}
	return nil
}

type section struct {
	name    string
	line    int
	entries []entry
}

type entry struct {
	key, value string
	line       int
}

func parseINI(data []byte) ([]section, error) {
	if len(data) > maxRepoFile {
		return nil, fmt.Errorf("repo file: %d bytes, at most %d", len(data), maxRepoFile)
	}
	var all []section
	for i, line := range strings.Split(strings.TrimPrefix(string(data), "\ufeff"), "\n") {
		n := i + 1
		text := strings.TrimSpace(line)
		if text == "" || text[0] == '#' || text[0] == ';' {
			continue
		}
		if line[0] == ' ' || line[0] == '\t' {
			if len(all) > 0 && len(all[len(all)-1].entries) > 0 {
				e := &all[len(all)-1].entries[len(all[len(all)-1].entries)-1]
				e.value += "\n" + text
				continue
			}
		}
		if text[0] == '[' {
			name, rest, ok := strings.Cut(text[1:], "]")
			if rest = strings.TrimSpace(rest); !ok || rest != "" && rest[0] != '#' && rest[0] != ';' {
				return nil, fmt.Errorf("line %d: section %.60q does not end with ]", n, text)
			}
			if len(all) >= maxSources {
				return nil, fmt.Errorf("line %d: more than %d sections", n, maxSources)
			}
			all = append(all, section{name: strings.TrimSpace(name), line: n})
			continue
		}
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("line %d: %.60q is no key=value", n, text)
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("line %d: %.60q stands before the first [section]", n, text)
		}
		sec := &all[len(all)-1]
		sec.entries = append(sec.entries, entry{strings.TrimSpace(key), strings.TrimSpace(value), n})
	}
	return all, nil
}

// repoKeys holds how each key is set; nil: known, but without meaning here.
var repoKeys = map[string]func(*Source, string) error{
	"name":                func(s *Source, v string) error { s.Name = v; return nil },
	"baseurl":             func(s *Source, v string) error { s.BaseURLs = list(v); return nil },
	"mirrorlist":          func(s *Source, v string) error { s.Mirrorlist = v; return nil },
	"metalink":            func(s *Source, v string) error { s.Metalink = v; return nil },
	"gpgkey":              func(s *Source, v string) error { s.GPGKeys = list(v); return nil },
	"excludepkgs":         func(s *Source, v string) error { s.ExcludePkgs = append(s.ExcludePkgs, list(v)...); return nil },
	"exclude":             func(s *Source, v string) error { s.ExcludePkgs = append(s.ExcludePkgs, list(v)...); return nil },
	"includepkgs":         func(s *Source, v string) error { s.IncludePkgs = append(s.IncludePkgs, list(v)...); return nil },
	"include":             func(s *Source, v string) error { s.IncludePkgs = append(s.IncludePkgs, list(v)...); return nil },
	"enabled":             func(s *Source, v string) (err error) { s.Enabled, err = boolean(v); return err },
	"gpgcheck":            func(s *Source, v string) (err error) { s.GPGCheck, err = boolean(v); return err },
	"pkg_gpgcheck":        func(s *Source, v string) (err error) { s.GPGCheck, err = boolean(v); return err },
	"repo_gpgcheck":       func(s *Source, v string) (err error) { s.RepoGPGCheck, err = boolean(v); return err },
	"skip_if_unavailable": func(s *Source, v string) (err error) { s.SkipIfUnavailable, err = boolean(v); return err },
	"module_hotfixes":     func(s *Source, v string) (err error) { s.ModuleHotfixes, err = boolean(v); return err },
	"sslverify": func(s *Source, v string) error {
		on, err := boolean(v)
		s.SSLInsecure = err == nil && !on
		return err
	},
	"priority":        func(s *Source, v string) (err error) { s.Priority, err = parseNumber(v); return err },
	"cost":            func(s *Source, v string) (err error) { s.Cost, err = parseNumber(v); return err },
	"metadata_expire": func(s *Source, v string) (err error) { s.MetadataExpire, err = duration(v); return err },
	"sslcacert":       func(s *Source, v string) error { s.SSLCACert = strings.TrimPrefix(v, "file://"); return nil },
	"sslclientcert":   func(s *Source, v string) error { s.SSLClientCert = strings.TrimPrefix(v, "file://"); return nil },
	"sslclientkey":    func(s *Source, v string) error { s.SSLClientKey = strings.TrimPrefix(v, "file://"); return nil },
	"timeout":         func(s *Source, v string) (err error) { s.Timeout, err = duration(v); return err },
	"minrate":         func(s *Source, v string) (err error) { s.MinRate, err = bytesize(v); return err },
	"retries": func(s *Source, v string) (err error) {
		if s.Retries, err = parseNumber(v); err == nil && (s.Retries <= 0 || s.Retries > maxRetries) {
			s.Retries = maxRetries // dnf's 0 means for ever
		}
		return err
	},
	"user_agent":     func(s *Source, v string) error { s.UserAgent = v; return nil },
	"proxy_username": func(s *Source, v string) error { s.ProxyUsername = v; return nil },
	"proxy_password": func(s *Source, v string) error { s.ProxyPassword = v; return nil },
	"username":       func(s *Source, v string) error { s.Username = v; return nil },
	"password":       func(s *Source, v string) error { s.Password = v; return nil },
	"proxy": func(s *Source, v string) error {
		if s.Proxy = v; v == "" || strings.EqualFold(v, "_none_") || strings.EqualFold(v, "none") {
			s.Proxy = "none"
		}
		return nil
	},

	"type": nil, "mediaid": nil, "gpgcakey": nil, "fastestmirror": nil,
	"proxy_auth_method": nil, "enablegroups": nil, "bandwidth": nil, "throttle": nil, "ip_resolve": nil, "deltarpm": nil,
	"deltarpm_percentage": nil, "deltarepobaseurl": nil, "failovermethod": nil,
	"max_parallel_downloads": nil, "countme": nil, "autorefresh": nil, "keepalive": nil, "keepcache": nil, "keeppackages": nil,
	"http_caching": nil, "mirrorlist_expire": nil, "metadata_expire_filter": nil, "mdpolicy": nil, "async": nil, "repositoryid": nil,
	"sslverifystatus": nil, "ui_repoid_vars": nil, "zchunk": nil, "path": nil, "enabled_metadata": nil,
	"build_cache": nil, "username_file": nil, "ssl_check_cert_permissions": nil, "sslusercert": nil, "service": nil,
}

// list splits at blanks, commas and line ends, as dnf does.
func list(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' })
}

func boolean(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "1", "yes", "true", "on", "enabled":
		return true, nil
	case "0", "no", "false", "off", "disabled":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no", v)
}

// duration reads seconds, a number with m, h or d, or "never".
func duration(v string) (time.Duration, error) {
	if v == "never" || v == "-1" {
		return -1, nil
	}
	unit := time.Second
	number := v
	if v != "" {
		switch v[len(v)-1] {
		case 's':
			number = v[:len(v)-1]
		case 'm':
			unit, number = time.Minute, v[:len(v)-1]
		case 'h':
			unit, number = time.Hour, v[:len(v)-1]
		case 'd':
			unit, number = 24*time.Hour, v[:len(v)-1]
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || !(f >= 0 && f <= 1e9) || f*unit.Seconds() > 1e9 {
		return 0, fmt.Errorf("%q is no time such as 3600, 90m, 6h, 2d or never", v)
	}
	return time.Duration(f * float64(unit)), nil
}

// bytesize reads a number of bytes with k, m or g, of 1024.
func bytesize(v string) (int64, error) {
	number, unit := v, int64(1)
	if v != "" {
		if i := strings.IndexByte("kmg", v[len(v)-1]|0x20); i >= 0 {
			number, unit = v[:len(v)-1], 1<<(10*(i+1))
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || !(f >= 0 && f*float64(unit) <= 1<<50) {
		return 0, fmt.Errorf("%q is no number of bytes such as 1000, 10k or 2M", v)
	}
	return int64(f * float64(unit)), nil
}

func parseNumber(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, fmt.Errorf("%.60q is no number", v)
	}
	return n, nil
}
