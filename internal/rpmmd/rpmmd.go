// SPDX-License-Identifier: Apache-2.0

// Package rpmmd reads sources: rpm-md repositories of RPM packages, and the .repo files that name them.
//
// It brings no packages (PackageURLs and fetch do) and chooses none (solve does). Of zchunk it reads the plain twin.
// Every byte of metadata is held against a checksum that repomd.xml gives, and repomd.xml against its signature and the
// metalink where the source has them; sizes are limited before memory is taken; no name that a server chose becomes the name
// of a file here.
package rpmmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"grove/internal/fetch"
	"grove/internal/rpm"
	"grove/internal/sign"
)

// ErrNoFilelists is for a source that has no file lists: its packages' files are those of its primary metadata.
var ErrNoFilelists = errors.New("filelists: the source has none")

// ErrMalformed is for metadata that came and is not what it has to be.
var ErrMalformed = errors.New("malformed metadata")

// Unavailable tells whether err, of Load, says that the source cannot be reached, and not that it gave something wrong.
func Unavailable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	for _, wrong := range []error{ErrMalformed, fetch.ErrDigest, fetch.ErrTooLarge, sign.ErrUntrusted} {
		if errors.Is(err, wrong) {
			return false
		}
	}
	return true
}

// malformed marks an error of parsing.
type malformed struct{ error }

func (m malformed) Is(target error) bool { return target == ErrMalformed }
func (m malformed) Unwrap() error        { return m.error }

// Source is one repository as its .repo file describes it.
//
//	shape   lists in the order of the file; URLs with variables replaced
//	units   MetadataExpire negative = never; Priority and Cost: smaller is better
//	shape   SkipIfUnavailable: Load's caller may go on without the source where Unavailable says that it cannot be reached
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
	ReadFile           func(name string) ([]byte, error) // reads these; nil = of this host
	Proxy              string                            // "none" = none, "" = environment
	ProxyUsername      string
	ProxyPassword      string
	Username, Password string
	UserAgent          string
	Timeout            time.Duration // without an answer, or with less than MinRate; 0 = fetch's
	MinRate            int64         // bytes a second; 0 = fetch's
	Retries            int           // how often a URL is tried; 0 = fetch's
}

// Metadata is what a source says about its packages.
type Metadata struct {
	Source         Source
	RevisionDigest string // sha256 of repomd.xml in hex: it names the state of the source
	Packages       []rpm.Meta
	Groups         []Group
	Environments   []Environment
	Modules        []Module // all builds of all streams; ApplyModules says which count
	ModuleDefaults []ModuleDefault
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
	CacheDir string                           // "" = no cache
	Client   *fetch.Client                    // nil = fetch.New of the zero options
	Offline  bool                             // use what the cache has, whatever its age
	Refresh  bool                             // ask whether the source has changed, whatever the age of the cache
	MaxAge   time.Duration                    // in place of the source's MetadataExpire; 0 = the source's
	ReadKey  func(url string) ([]byte, error) // nil = through Client
	Progress func(Event)
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
//	errors  ErrMalformed, fetch.ErrNotFound, fetch.ErrOffline, fetch.ErrDigest, sign.ErrUntrusted; see Unavailable
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
	return m, nil
}

// LoadFilelists completes the Files of m.Packages: with all names, or with those of the wanted paths that a package has.
// The primary metadata names only files in */bin, */sbin, /etc and the like.
func (m *Metadata) LoadFilelists(ctx context.Context, wanted ...string) error {
	return m.loadFilelists(ctx, newWanted(wanted, nil))
}

// LoadFiles adds to the Files of m.Packages those of paths, and what fits one of globs (see rpm.Glob), that a package has.
//
//	errors  those of Load, and ErrNoFilelists
func (m *Metadata) LoadFiles(ctx context.Context, paths, globs []string) error {
	if len(paths)+len(globs) == 0 {
		return nil
	}
	return m.loadFilelists(ctx, newWanted(paths, globs))
}

// InPrimary tells whether primary metadata has a file of that name of every package, so that file lists say no more.
//
//	source  createrepo_c src/misc.h, cr_is_primary
func InPrimary(path string) bool {
	return strings.HasPrefix(path, "/etc/") || path == "/usr/lib/sendmail" || strings.Contains(path, "bin/")
}

func (m *Metadata) loadFilelists(ctx context.Context, w wanted) error {
	if m.loader == nil {
		return errors.New("internal error: metadata that was not loaded")
	}
	if err := m.loader.filelists(ctx, m, w); err != nil {
		return fmt.Errorf("source %s: %w", m.Source.ID, err)
	}
	return nil
}
