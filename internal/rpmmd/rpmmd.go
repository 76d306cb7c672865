// SPDX-License-Identifier: Apache-2.0

// Package rpmmd reads sources: rpm-md repositories of RPM packages, and the .repo files that name them.
//
// It brings no packages (PackageURLs and fetch do) and chooses none (solve does). Module streams and zchunk are not read.
// Every byte of metadata is held against a checksum that repomd.xml gives, and repomd.xml against its signature and the
// metalink where the source has them; sizes are limited before memory is taken; no name that a server chose becomes the name
// of a file here.
package rpmmd

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"grove/internal/fetch"
	"grove/internal/rpm"
)

// Source is one repository as its .repo file describes it.
//
//	shape   lists in the order of the file; URLs with variables replaced
//	units   MetadataExpire negative = never; Priority and Cost: smaller is better
//	source  dnf.conf(5), repo options
type Source struct {
	ID, Name           string
	BaseURLs           []string
	Mirrorlist         string
	Metalink           string
	Enabled            bool
	GPGCheck           bool // packages must be signed by one of GPGKeys
	RepoGPGCheck       bool // so must repomd.xml
	SkipIfUnavailable  bool
	ModuleHotfixes     bool
	GPGKeys            []string // URLs
	Priority, Cost     int
	ExcludePkgs        []string // globs over name, name.arch or NEVRA
	IncludePkgs        []string // the same; empty = all
	MetadataExpire     time.Duration
	SSLInsecure        bool
	SSLCACert          string // paths of PEM files
	SSLClientCert      string
	SSLClientKey       string
	Proxy              string // "none" = none, "" = environment
	Username, Password string
}

// Metadata is what a source says about its packages.
type Metadata struct {
	Source         Source
	RevisionDigest string // sha256 of repomd.xml in hex: it names the state of the source
	Packages       []rpm.Meta
	Groups         []Group
	Environments   []Environment
	Warnings       []string // what was left out and why

	bases  []string // URLs that end in a slash, best first
	repomd repomd
	loader *loader
}

// Group is a named list of packages.
type Group struct {
	ID, Name, Description string
	UserVisible           bool
	Mandatory             []string
	Default               []string
	Optional              []string
	Conditional           []Conditional
}

// Conditional is a package that belongs to a group where another one is installed.
type Conditional struct{ Name, Requires string }

// Environment is a named list of groups.
type Environment struct {
	ID, Name, Description string
	Groups                []string
	Options               []string // groups that a person may add
	DefaultOptions        []string // those of Options that are added unless refused
}

// LoadOptions of Load. The zero value keeps no cache and asks the network.
type LoadOptions struct {
	CacheDir  string                           // "" = no cache
	Client    *fetch.Client                    // nil = fetch.New of the zero options
	Offline   bool                             // use what the cache has, whatever its age
	Refresh   bool                             // ask whether the source has changed, whatever the age of the cache
	MaxAge    time.Duration                    // in place of the source's MetadataExpire; 0 = the source's
	Filelists bool                             // load all file names at once
	ReadKey   func(url string) ([]byte, error) // nil = through Client
	Progress  func(Event)
}

// Event tells what Load is at.
type Event struct {
	Source      string
	What        string // "repomd", "primary", "filelists", "group", "mirrors"
	Done, Total int64  // bytes; Total 0 = not known
}

// PackageURLs returns where p, one of m.Packages, can be had, best mirror first.
func (m *Metadata) PackageURLs(p rpm.Meta) []string { return locationURLs(m.bases, p.Location) }

// Load brings and reads the metadata of a source, from the cache as far as that is fresh.
//
//	errors  fetch.ErrNotFound, fetch.ErrOffline, fetch.ErrDigest, sign.ErrUntrusted
func Load(ctx context.Context, src Source, o LoadOptions) (*Metadata, error) {
	l, err := newLoader(src, o)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", src.ID, err)
	}
	m, err := l.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", src.ID, err)
	}
	m.Packages = src.filter(m.Packages)
	if o.Filelists {
		if err := m.LoadFilelists(ctx); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// LoadFilelists completes the Files of m.Packages: with all names, or with those of the wanted paths that a package has.
// The primary metadata names only files in */bin, */sbin, /etc and the like.
func (m *Metadata) LoadFilelists(ctx context.Context, wanted ...string) error {
	if m.loader == nil {
		return errors.New("internal error: metadata that was not loaded")
	}
	if err := m.loader.filelists(ctx, m, wanted); err != nil {
		return fmt.Errorf("source %s: %w", m.Source.ID, err)
	}
	return nil
}

// filter leaves out what the source's own lists exclude.
func (s Source) filter(all []rpm.Meta) []rpm.Meta {
	if len(s.ExcludePkgs) == 0 && len(s.IncludePkgs) == 0 {
		return all
	}
	var kept []rpm.Meta
	for _, p := range all {
		if (len(s.IncludePkgs) == 0 || matchAny(s.IncludePkgs, p)) && !matchAny(s.ExcludePkgs, p) {
			kept = append(kept, p)
		}
	}
	return kept
}

func matchAny(globs []string, p rpm.Meta) bool {
	for _, g := range globs {
		for _, name := range []string{p.Name, p.Name + "." + p.Arch, p.NEVRA.String(), p.Name + "-" + p.Version, p.Name + "-" + p.Version + "-" + p.Release} {
			if ok, err := path.Match(g, name); ok && err == nil {
				return true
			}
		}
	}
	return false
}
