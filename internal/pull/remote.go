// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"grove/internal/fetch"
	"grove/internal/keyfile"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/trust"
)

// Limits of the small files of a remote. Flathub's summary is 10 MiB.
const (
	maxSummary    = 32 << 20
	maxSmall      = 1 << 20
	maxMirrors    = 32
	maxCommitMeta = 10 << 20
)

// remote is where commits come from: a server, or a repository on this machine.
type remote struct {
	name     string
	conf     repo.Remote
	client   *fetch.Client
	mine     bool     // the client was made here
	meta     []string // base URLs of refs, summary and signatures
	content  []string // base URLs of objects
	local    *repo.Repo
	plain    bool // local, and names are what that repository calls so
	policy   trust.Policy
	spoolDir string
	large    sync.Mutex // held while a large metadata object is read
	warnings []string

	cacheDir    string          // of summaries; "" = none
	summary     *ostree.Summary // nil where there is none; read at most once
	summaryData []byte
	summarySig  []byte // nil where there is none
	summaryRead bool
	fresh       fetch.Page // the summary as it came, to be kept
	freshSig    fetch.Page
	collection  string // of the remote's own refs, as the summary says
	modeRead    bool
	tombstones  bool // deleted commits leave a mark
}

func openRemote(ctx context.Context, r *repo.Repo, name string, o Options) (*remote, error) {
	if err := ostree.CheckRemoteName(name); err != nil {
		return nil, err
	}
	conf, err := r.Remote(name)
	if err != nil {
		return nil, err
	}
	metalink := conf.Options["metalink"]
	if o.URL != "" {
		conf.URL, conf.ContentURL, metalink = o.URL, "", ""
	}
	switch {
	case conf.UnconfiguredState != "":
		return nil, fmt.Errorf("the remote is not configured: %s", conf.UnconfiguredState)
	case conf.Options["custom-backend"] != "":
		return nil, fmt.Errorf("the remote is another program's: custom-backend=%s", conf.Options["custom-backend"])
	case conf.URL == "" && metalink == "":
		return nil, errors.New("the remote has no url")
	}
	rem := &remote{name: name, conf: conf, spoolDir: filepath.Join(r.Path(), "tmp"), cacheDir: o.CacheDir}
	if rem.cacheDir == "" {
		rem.cacheDir = filepath.Join(r.Path(), "tmp/cache")
	}
	if rem.policy, err = newPolicy(r, conf, o.KeyDir); err != nil {
		return nil, err
	}
	if path, ok := localPath(conf.URL); ok && metalink == "" {
		rem.local, err = repo.Open(path)
		return rem, err
	}
	rem.connect(r, o)
	if err := rem.locate(ctx, metalink); err != nil {
		rem.close()
		return nil, err
	}
	return rem, nil
}

// connect gives the remote a client.
func (rem *remote) connect(r *repo.Repo, o Options) {
	if o.Client == nil {
		rem.client, rem.mine = clientOf(r, rem.conf, o), true
		return
	}
	rem.client = o.Client
	opt := o.Client.Options()
	if (!o.Offline || opt.Offline) && o.Retries == 0 && len(o.Headers) == 0 {
		return
	}
	withOptions(&opt, o)
	rem.client, rem.mine = fetch.New(opt), true
}

// locate finds out the base URLs.
func (rem *remote) locate(ctx context.Context, metalink string) (err error) {
	if metalink != "" {
		err = rem.followMetalink(ctx, metalink)
	} else {
		rem.meta, err = rem.bases(ctx, rem.conf.URL)
		rem.content = rem.meta
	}
	if err == nil && rem.conf.ContentURL != "" {
		rem.content, err = rem.bases(ctx, rem.conf.ContentURL)
	}
	return err
}

func (rem *remote) close() {
	if rem.mine {
		rem.client.Close()
	}
	if rem.local != nil {
		rem.local.Close()
	}
}

// localPath gives the folder that a URL names on this machine.
func localPath(url string) (string, bool) {
	if strings.HasPrefix(url, "/") {
		return url, true
	}
	if strings.HasPrefix(url, "file:") {
		if path, err := fetch.PathOf(url); err == nil {
			return path, true
		}
	}
	return "", false
}

// clientOf honours the keys of ostree.repo-config(5) that concern the connection, and the cookies that ostree keeps.
func clientOf(r *repo.Repo, conf repo.Remote, o Options) *fetch.Client {
	opt := conf.Options
	is := func(key string) bool { return opt[key] == "true" || opt[key] == "1" }
	options := fetch.Options{
		Proxy: opt["proxy"], HTTP1: opt["http2"] == "false" || opt["http2"] == "0",
		CookieFile: cookieFile(r, conf.Name), ForbiddenIsMissing: true, // as libostree has it: many remotes lie in object stores
		TLS: fetch.TLS{
			CAFile: opt["tls-ca-path"], CertFile: opt["tls-client-cert-path"], KeyFile: opt["tls-client-key-path"],
			Insecure: is("tls-permissive"),
		},
	}
	withOptions(&options, o)
	return fetch.New(options)
}

func withOptions(opt *fetch.Options, o Options) {
	opt.Offline = opt.Offline || o.Offline
	opt.Headers = append(opt.Headers[:len(opt.Headers):len(opt.Headers)], o.Headers...)
	switch {
	case o.Retries > 0:
		opt.Tries = o.Retries + 1
	case o.Retries < 0:
		opt.Tries = 1
	}
}

// bases gives the base URLs that a url key stands for; one that begins with mirrorlist= names a list of them.
func (rem *remote) bases(ctx context.Context, url string) ([]string, error) {
	list, ok := strings.CutPrefix(url, "mirrorlist=")
	if !ok {
		return []string{strings.TrimRight(url, "/") + "/"}, nil
	}
	data, err := rem.client.Get(ctx, list, maxSmall)
	if err != nil {
		return nil, fmt.Errorf("mirrors: %w", err)
	}
	var bases []string
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan() && len(bases) < maxMirrors; {
		line := strings.TrimSpace(s.Text())
		if strings.HasPrefix(line, "http://") || strings.HasPrefix(line, "https://") {
			bases = append(bases, strings.TrimRight(line, "/")+"/")
		}
	}
	if len(bases) == 0 {
		return nil, fmt.Errorf("mirrors: no http or https URL in %s", list)
	}
	return bases, nil
}

// checkMode makes sure that there is an archive repository, by its summary where that says so.
func (rem *remote) checkMode(ctx context.Context) error {
	if rem.modeRead || rem.local != nil {
		return nil
	}
	if rem.summary != nil {
		mode, ok := rem.summary.Metadata.Str(ostree.SummaryMode)
		deleted, _ := rem.summary.Metadata.Lookup(ostree.SummaryTombstones)
		if ok && deleted.Type() == "b" {
			return rem.setMode(mode, deleted.Bool())
		}
	}
	data, err := rem.get(ctx, rem.meta, "config", maxSmall)
	if errors.Is(err, fetch.ErrNotFound) {
		return fmt.Errorf("%w: there is no repository: %w", repo.ErrNotFound, err)
	}
	if err != nil {
		return err
	}
	conf, err := keyfile.Parse(data)
	if err != nil {
		return fmt.Errorf("%sconfig: %w", rem.meta[0], err)
	}
	mode, ok := conf.Get("core", "mode")
	if !ok {
		return fmt.Errorf("%sconfig names no mode: this is no OSTree repository", rem.meta[0])
	}
	deleted, _ := conf.Get("core", "tombstone-commits")
	return rem.setMode(mode, deleted == "true" || deleted == "1")
}

func (rem *remote) setMode(text string, tombstones bool) error {
	mode, err := repo.ParseMode(text)
	if err != nil {
		return err
	}
	if mode != repo.Archive {
		return fmt.Errorf("the repository's mode is %v, over HTTP only archive can be read", mode)
	}
	rem.modeRead, rem.tombstones = true, tombstones
	return nil
}

// each tries the mirrors in turn. A mirror that lacks something does not speak for the others.
func each(bases []string, try func(base string) error) error {
	var first error
	for _, base := range bases {
		err := try(base)
		if err == nil {
			return nil
		}
		if first == nil || errors.Is(first, fetch.ErrNotFound) {
			first = err
		}
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			break
		}
	}
	return first
}

func (rem *remote) get(ctx context.Context, bases []string, path string, maxBytes int64) (data []byte, err error) {
	err = each(bases, func(base string) error {
		data, err = rem.client.Get(ctx, base+path, maxBytes)
		return err
	})
	return data, err
}
