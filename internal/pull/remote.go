// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"grove/internal/fetch"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/trust"
)

// Limits of the small files of a remote. Flathub's summary is 10 MiB.
const (
	maxSummary    = 128 << 20
	maxSmall      = 1 << 20
	maxMirrors    = 32
	maxCommitMeta = 16 << 20
)

// remote is where commits come from: a server, or a repository on this machine.
type remote struct {
	name    string
	conf    repo.Remote
	client  *fetch.Client
	mine    bool     // the client was made here
	meta    []string // base URLs of refs, summary and signatures
	content []string // base URLs of objects
	local   *repo.Repo
	policy  trust.Policy

	summary     *ostree.Summary // nil where there is none; read at most once
	summaryRead bool
}

func openRemote(ctx context.Context, r *repo.Repo, name string, o Options) (*remote, error) {
	if err := ostree.CheckRemoteName(name); err != nil {
		return nil, err
	}
	conf, err := r.Config().Remote(name)
	if err != nil {
		return nil, err
	}
	if o.URL != "" {
		conf.URL, conf.ContentURL = o.URL, ""
	}
	if conf.URL == "" {
		return nil, errors.New("the remote has no url")
	}
	if conf.UnconfiguredState != "" {
		return nil, fmt.Errorf("the remote is not configured: %s", conf.UnconfiguredState)
	}
	rem := &remote{name: name, conf: conf}
	if rem.policy, err = newPolicy(r, conf, o.KeyDir); err != nil {
		return nil, err
	}
	if path, ok := localPath(conf.URL); ok {
		rem.local, err = repo.Open(path)
		return rem, err
	}
	switch {
	case o.Client == nil:
		rem.client, rem.mine = clientOf(conf, o), true
	case o.Offline && !o.Client.Offline():
		opt := o.Client.Options()
		opt.Offline = true
		rem.client, rem.mine = fetch.New(opt), true
	default:
		rem.client = o.Client
	}
	if rem.meta, err = rem.bases(ctx, conf.URL); err != nil {
		return nil, err
	}
	rem.content = rem.meta
	if conf.ContentURL != "" {
		if rem.content, err = rem.bases(ctx, conf.ContentURL); err != nil {
			return nil, err
		}
	}
	return rem, rem.checkMode(ctx)
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

// clientOf honours the keys of ostree.repo-config(5) that concern the connection.
func clientOf(conf repo.Remote, o Options) *fetch.Client {
	opt := conf.Options
	return fetch.New(fetch.Options{
		Offline: o.Offline, Proxy: opt["proxy"],
		TLS: fetch.TLS{
			CAFile: opt["tls-ca-path"], CertFile: opt["tls-client-cert-path"], KeyFile: opt["tls-client-key-path"],
			Insecure: opt["tls-permissive"] == "true" || opt["tls-permissive"] == "1",
		},
	})
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

// checkMode makes sure that there is an archive repository.
func (rem *remote) checkMode(ctx context.Context) error {
	data, err := rem.get(ctx, rem.meta, "config", maxSmall)
	if errors.Is(err, fetch.ErrNotFound) {
		return fmt.Errorf("%w: there is no repository: %w", repo.ErrNotFound, err)
	}
	if err != nil {
		return err
	}
	core := false
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		if strings.HasPrefix(line, "[") {
			core = line == "[core]"
		}
		key, value, _ := strings.Cut(line, "=")
		if !core || strings.TrimSpace(key) != "mode" {
			continue
		}
		mode, err := repo.ParseMode(strings.TrimSpace(value))
		if err != nil {
			return err
		}
		if mode != repo.Archive {
			return fmt.Errorf("the repository's mode is %v, over HTTP only archive can be read", mode)
		}
		return nil
	}
	return fmt.Errorf("%sconfig names no mode: this is no OSTree repository", rem.meta[0])
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

// resolve gives the commit of a ref: from the summary where there is one.
func (rem *remote) resolve(ctx context.Context, ref string) (ostree.Checksum, error) {
	if rem.local != nil && !rem.policy.WantsSummary() {
		all, err := rem.local.Refs("")
		if err != nil {
			return ostree.Checksum{}, err
		}
		c, ok := all[ref]
		if !ok {
			return c, fmt.Errorf("%w in %s", repo.ErrNotFound, rem.local.Path())
		}
		return c, nil
	}
	if err := rem.readSummary(ctx); err != nil {
		return ostree.Checksum{}, err
	}
	if rem.summary != nil {
		if s, ok := rem.summary.Lookup(ref); ok {
			return s.Commit, nil
		}
		if rem.policy.WantsSummary() {
			return ostree.Checksum{}, fmt.Errorf("%w in the summary", repo.ErrNotFound)
		}
	}
	data, err := rem.get(ctx, rem.meta, "refs/heads/"+ref, maxSmall)
	if errors.Is(err, fetch.ErrNotFound) {
		return ostree.Checksum{}, fmt.Errorf("%w on the remote", repo.ErrNotFound)
	}
	if err != nil {
		return ostree.Checksum{}, err
	}
	return ostree.ParseChecksum(strings.TrimSpace(string(data)))
}

// allRefs lists the remote's own refs.
func (rem *remote) allRefs(ctx context.Context) (map[string]ostree.Checksum, error) {
	refs := map[string]ostree.Checksum{}
	if rem.local != nil && !rem.policy.WantsSummary() {
		all, err := rem.local.Refs("")
		for name, c := range all {
			if !strings.Contains(name, ":") {
				refs[name] = c
			}
		}
		return refs, err
	}
	if err := rem.readSummary(ctx); err != nil {
		return nil, err
	}
	if rem.summary == nil {
		return nil, errors.New("the remote has no summary, so its refs cannot be listed")
	}
	for _, s := range rem.summary.Refs {
		refs[s.Name] = s.Commit
	}
	return refs, nil
}

// readSummary brings the summary, and holds it against its signature where the remote asks for that.
func (rem *remote) readSummary(ctx context.Context) error {
	if rem.summaryRead {
		return nil
	}
	data, err := rem.file(ctx, "summary", maxSummary)
	if err != nil {
		return fmt.Errorf("summary: %w", err)
	}
	if rem.policy.WantsSummary() {
		sig, err := rem.file(ctx, "summary.sig", maxSmall)
		if err == nil {
			_, err = rem.policy.Summary(data, sig)
		}
		if err != nil {
			return fmt.Errorf("summary: %w", err)
		}
	}
	if data != nil {
		s, err := ostree.ParseSummary(data)
		if err != nil {
			return err
		}
		rem.summary = &s
	}
	rem.summaryRead = true
	return nil
}

// file reads a file of the repository's top folder; nil if there is none.
func (rem *remote) file(ctx context.Context, name string, maxBytes int64) ([]byte, error) {
	if rem.local != nil {
		body, size, err := fetch.New(fetch.Options{Offline: true}).Open(ctx, fileURL(rem.local.Path()+"/"+name))
		if errors.Is(err, fetch.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		defer body.Close()
		if size > maxBytes {
			return nil, fmt.Errorf("%s has %d bytes, at most %d", name, size, maxBytes)
		}
		return io.ReadAll(body)
	}
	data, err := rem.get(ctx, rem.meta, name, maxBytes)
	if errors.Is(err, fetch.ErrNotFound) {
		return nil, nil
	}
	return data, err
}
