// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"grove/internal/durable"
	"grove/internal/fetch"
	"grove/internal/rpm"
	"grove/internal/sign"
)

// loader brings the metadata of one source.
//
// The cache of a source is a folder ID-HASH with repomd.xml and its signature as they came (the time of repomd.xml is when the
// source was last asked), "mirrors" with the base URLs found then, parsed-REVISION and files-DIGEST in compact forms, and updateinfo-DIGEST as
// it came. Each file is replaced atomically, is verified when it is read, and can go at any time.
type loader struct {
	src    Source
	o      LoadOptions
	client *fetch.Client
	dir    string // "" = no cache
	tmp    string // in its place, while something is read
}

func newLoader(src Source, o LoadOptions) (*loader, error) {
	if err := checkID(src.ID); err != nil {
		return nil, err
	}
	l := &loader{src: src, o: o, client: sourceClient(src, o)}
	if o.CacheDir != "" {
		h := sha256.Sum256([]byte(strings.Join(src.BaseURLs, "\n") + "\n\n" + src.Mirrorlist + "\n" + src.Metalink))
		l.dir = filepath.Join(o.CacheDir, src.ID+"-"+hex.EncodeToString(h[:8]))
	}
	return l, nil
}

// sourceClient is the caller's client, or one like it with the source's own certificates, proxy and password.
func sourceClient(src Source, o LoadOptions) *fetch.Client {
	c := o.Client
	if c == nil {
		c = fetch.New(fetch.Options{Offline: o.Offline})
	}
	if src.own() || (o.Offline && !c.Offline()) {
		c = src.Client(c, o.Offline)
	}
	return c
}

func (s Source) own() bool {
	return s.SSLInsecure || s.SSLCACert != "" || s.SSLClientCert != "" || s.Proxy != "" || s.Username != "" || s.UserAgent != "" ||
		s.Timeout != 0 || s.MinRate != 0 || s.Retries != 0
}

// Client returns a client for the source: like c, with the source's certificates, proxy and password where it has such. The
// password is sent only to the hosts of the source's own URLs, not to mirrors that a server names.
func (s Source) Client(c *fetch.Client, offline bool) *fetch.Client {
	o := c.Options()
	o.Offline = o.Offline || offline
	if s.SSLInsecure {
		o.TLS.Insecure = true
	}
	if s.SSLCACert != "" || s.SSLClientCert != "" {
		o.TLS.ReadFile = s.ReadFile
	}
	if s.SSLCACert != "" {
		o.TLS.CAFile = s.SSLCACert
	}
	if s.SSLClientCert != "" {
		o.TLS.CertFile, o.TLS.KeyFile = s.SSLClientCert, s.SSLClientKey
	}
	if s.Proxy != "" {
		o.Proxy, o.ProxyUser, o.ProxyPass = s.Proxy, s.ProxyUsername, s.ProxyPassword
	}
	s.patience(&o)
	if s.Username != "" {
		o.Username, o.Password, o.AuthHosts = s.Username, s.Password, nil
		for _, text := range append([]string{s.Mirrorlist, s.Metalink}, s.BaseURLs...) {
			if u, err := url.Parse(text); err == nil && u.Host != "" {
				o.AuthHosts = append(o.AuthHosts, u.Scheme+"://"+u.Host) // metadata may name the host once more, without TLS
			}
		}
		if len(o.AuthHosts) == 0 {
			o.Username = ""
		}
	}
	return fetch.New(o)
}

// patience sets how long a server is waited for.
func (s Source) patience(o *fetch.Options) {
	if s.Timeout > 0 {
		o.DialTimeout, o.HeaderTimeout, o.StallTimeout = s.Timeout, s.Timeout, s.Timeout
	}
	if s.MinRate > 0 {
		o.StallBytes = s.MinRate * max(1, int64(o.StallTimeout/time.Second))
	}
	if s.Retries > 0 {
		o.Tries = s.Retries
	}
	if s.UserAgent != "" {
		o.UserAgent = s.UserAgent
	}
}

func (l *loader) load(ctx context.Context) (*Metadata, error) {
	done, err := l.room()
	if err != nil {
		return nil, err
	}
	defer done()
	st, err := l.state(ctx)
	if err != nil {
		return nil, err
	}
	m := l.metadata(st)
	if l.fromCache(m) {
		return m, nil
	}
	if err := l.primary(ctx, m); err != nil {
		if m = l.elsewhere(ctx, st, err); m == nil {
			return nil, err
		}
	}
	if err := l.modules(ctx, m); err != nil {
		return nil, err // without it other packages would seem to be there
	}
	if err := l.groups(ctx, m); err != nil {
		if ctx.Err() != nil || errors.Is(err, fetch.ErrOffline) {
			return nil, err
		}
		m.Warnings = append(m.Warnings, err.Error())
		return m, nil // not kept: the next Load tries again
	}
	return m, l.keep(m)
}

// room makes the folder that files come to; done removes it where it is not the cache.
func (l *loader) room() (done func(), err error) {
	if l.dir != "" {
		return func() {}, durable.MkdirAll(l.dir, 0o755)
	}
	if l.tmp != "" {
		return func() {}, nil
	}
	tmp, err := os.MkdirTemp("", "grove-rpmmd-")
	if err != nil {
		return nil, err
	}
	l.tmp = tmp
	return func() {
		os.RemoveAll(tmp)
		l.tmp = ""
	}, nil
}

func (l *loader) folder() string {
	if l.dir != "" {
		return l.dir
	}
	return l.tmp
}

func (l *loader) metadata(st state) *Metadata {
	return &Metadata{Source: l.src, RevisionDigest: st.revision, bases: st.bases, repomd: st.repomd, loader: l}
}

// elsewhere looks for another state of the source whose packages can be read, after err with those of st: mirrors are caught in the
// middle of an update, and the cache may hold a repomd.xml that is older than its source. nil: there is none.
func (l *loader) elsewhere(ctx context.Context, st state, err error) *Metadata {
	if ctx.Err() != nil || errors.Is(err, fetch.ErrOffline) {
		return nil
	}
	if st.cached {
		if st, err = l.ask(ctx); err != nil {
			return nil
		}
		if m := l.metadata(st); l.primary(ctx, m) == nil {
			return m
		}
	}
	for len(st.bases) > 1 && st.untried > 0 {
		next, err := l.askBases(ctx, st.bases[1:1+st.untried], st.digests)
		if err != nil {
			return nil
		}
		if m := l.metadata(next); next.revision != st.revision && l.primary(ctx, m) == nil {
			return m
		}
		st = next
	}
	return nil
}

// state is the verified repomd.xml and where it came from.
type state struct {
	repomd   repomd
	revision string
	bases    []string
	cached   bool
	untried  int          // of the bases behind the first, how many were not asked
	digests  []rpm.Digest // what repomd.xml had to be
}

// state takes the cached one where that is fresh, or where nothing can be asked.
func (l *loader) state(ctx context.Context) (state, error) {
	cached, age, cachedErr := l.cachedState(ctx)
	if cachedErr == nil && l.fresh(age) {
		return cached, nil
	}
	if l.o.Offline || l.client.Offline() {
		if bases, err := l.fileBases(); err == nil && len(bases) > 0 {
			return l.askBases(ctx, bases, nil)
		}
		if cachedErr == nil {
			return cached, nil
		}
		if l.dir == "" || errors.Is(cachedErr, fs.ErrNotExist) {
			return state{}, fmt.Errorf("%w: its metadata is not in the cache", fetch.ErrOffline)
		}
		return state{}, fmt.Errorf("%w: its metadata in the cache cannot be used: %w", fetch.ErrOffline, cachedErr)
	}
	return l.ask(ctx)
}

func (l *loader) fresh(age time.Duration) bool {
	limit := l.src.MetadataExpire
	if l.o.MaxAge > 0 {
		limit = l.o.MaxAge
	}
	if bases, err := l.fileBases(); err != nil || len(bases) == len(l.src.BaseURLs) && l.src.Mirrorlist == "" && l.src.Metalink == "" {
		return false // asking a local source costs nothing
	}
	return !l.o.Refresh && (limit < 0 || age >= 0 && age < limit)
}

// fileBases gives those base URLs that need no network.
func (l *loader) fileBases() ([]string, error) {
	var bases []string
	for _, b := range l.src.BaseURLs {
		b, err := checkBase(b)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(b, "file:") {
			bases = append(bases, b)
		}
	}
	return bases, nil
}

// ask finds the mirrors and brings repomd.xml.
func (l *loader) ask(ctx context.Context) (state, error) {
	var bases []string
	for _, b := range l.src.BaseURLs {
		b, err := checkBase(b)
		if err != nil {
			return state{}, err
		}
		bases = append(bases, b)
	}
	var digests []rpm.Digest
	for _, list := range []string{l.src.Metalink, l.src.Mirrorlist} {
		if list == "" {
			continue
		}
		l.event("mirrors", 0, 0)
		data, err := l.client.Get(ctx, list, maxMirrors)
		if err != nil {
			if len(bases) > 0 && ctx.Err() == nil {
				continue // the base URLs may still answer
			}
			return state{}, fmt.Errorf("mirrors: %w", err)
		}
		if list == l.src.Metalink || bytes.HasPrefix(bytes.TrimSpace(data), []byte("<")) {
			m, err := parseMetalink(data)
			if err != nil {
				return state{}, malformed{err}
			}
			bases, digests = append(bases, m.bases...), m.digests
			continue
		}
		more, err := parseMirrorlist(data, func(s string) string { return s })
		if err != nil {
			return state{}, malformed{err}
		}
		bases = append(bases, more...)
	}
	if len(bases) == 0 {
		return state{}, errors.New("no baseurl, and no mirror is known")
	}
	return l.askBases(ctx, bases, digests)
}

// askBases takes repomd.xml from the first mirror whose copy is right.
func (l *loader) askBases(ctx context.Context, bases []string, digests []rpm.Digest) (state, error) {
	l.event("repomd", 0, 0)
	var st state
	given := map[string]bool{} // up: another try would not do better
	err := l.client.Retry(ctx, func() error {
		var first error
		again := false
		for i, base := range bases {
			if given[base] {
				continue
			}
			var err error
			if st, err = l.askBase(ctx, base, digests); err == nil {
				// mirrors that failed go to the end: packages are asked for at the one that answered
				st.bases = append(append([]string{}, bases[i:]...), bases[:i]...)
				st.untried, st.digests = len(bases)-i-1, digests
				return fetch.Lasting(l.keepBases(st.bases))
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			var asked unanswered
			given[base] = !errors.As(err, &asked) || !fetch.Mends(err)
			again = again || !given[base]
			if first == nil || errors.Is(first, fetch.ErrNotFound) && !errors.Is(err, fetch.ErrNotFound) {
				first = err
			}
		}
		if len(bases) > 1 {
			first = fmt.Errorf("%w (%d mirrors tried)", first, len(bases))
		}
		if !again {
			return fetch.Lasting(first)
		}
		return first
	})
	return st, err
}

// unanswered marks that a mirror did not give what it was asked for, where it did not give something wrong.
type unanswered struct{ error }

func (e unanswered) Unwrap() error { return e.error }

func (l *loader) askBase(ctx context.Context, base string, digests []rpm.Digest) (state, error) {
	from := joinURL(base, "repodata/repomd.xml")
	data, err := l.client.GetOnce(ctx, from, maxRepomd)
	if err != nil {
		return state{}, unanswered{err}
	}
	if err := anyDigest(data, digests); err != nil {
		return state{}, fmt.Errorf("%s: %w", from, err)
	}
	var asc []byte
	if l.src.RepoGPGCheck {
		asc, err = l.client.Get(ctx, from+".asc", maxSignature)
		if errors.Is(err, fetch.ErrNotFound) {
			err = fmt.Errorf("%w: it has no signature: %w", sign.ErrUntrusted, err)
		}
		if err != nil {
			return state{}, fmt.Errorf("repomd.xml: %w", err)
		}
	}
	st, err := l.verified(ctx, data, asc)
	if err != nil || l.dir == "" {
		return st, err
	}
	path := filepath.Join(l.dir, "repomd.xml")
	if asc != nil {
		if err := refresh(path+".asc", asc); err != nil {
			return st, err
		}
	}
	return st, refresh(path, data)
}

func anyDigest(data []byte, digests []rpm.Digest) error {
	if len(digests) == 0 {
		return nil
	}
	for _, d := range digests {
		h, err := fetch.NewHash(d.Algo)
		if err != nil {
			return err
		}
		h.Write(data)
		if hex.EncodeToString(h.Sum(nil)) == d.Hex {
			return nil
		}
	}
	return fmt.Errorf("%w: it is not the repomd.xml that the metalink names", fetch.ErrDigest)
}

// verified reads repomd.xml after holding it against its signature.
func (l *loader) verified(ctx context.Context, data, asc []byte) (state, error) {
	if l.src.RepoGPGCheck {
		keyring, err := l.keys(ctx)
		if err != nil {
			return state{}, err
		}
		if _, err := keyring.Verify(bytes.NewReader(data), asc); err != nil {
			return state{}, fmt.Errorf("repomd.xml: %w", err)
		}
	}
	r, err := parseRepomd(data)
	if err != nil {
		err = malformed{err}
	}
	sum := sha256.Sum256(data)
	return state{repomd: r, revision: hex.EncodeToString(sum[:])}, err
}

func (l *loader) keys(ctx context.Context) (sign.Keyring, error) {
	var all [][]byte
	for _, key := range l.src.GPGKeys {
		var data []byte
		var err error
		if l.o.ReadKey != nil {
			data, err = l.o.ReadKey(key)
		} else {
			if strings.HasPrefix(key, "/") {
				key = (&url.URL{Scheme: "file", Path: key}).String()
			}
			data, err = l.client.Get(ctx, key, maxKey)
		}
		if err != nil {
			return sign.Keyring{}, fmt.Errorf("key %s: %w", key, err)
		}
		if _, err := sign.ParseKeyring(data); err != nil {
			return sign.Keyring{}, fmt.Errorf("key %s: %w", key, malformed{err})
		}
		all = append(all, data)
	}
	if len(all) == 0 {
		return sign.Keyring{}, fmt.Errorf("repomd.xml: %w: repo_gpgcheck is on, but there is no gpgkey", sign.ErrUntrusted)
	}
	return sign.ParseKeyring(all...)
}

func (l *loader) event(what string, done, total int64) {
	if l.o.Progress != nil {
		l.o.Progress(Event{l.src.ID, what, done, total})
	}
}

func (l *loader) primary(ctx context.Context, m *Metadata) error {
	return l.with(ctx, m, "primary", func(r io.Reader) (err error) {
		m.Packages, err = ParsePrimary(r)
		return err
	})
}

func (l *loader) modules(ctx context.Context, m *Metadata) error {
	if _, ok := m.repomd.files["modules"]; !ok {
		return nil
	}
	return l.with(ctx, m, "modules", func(r io.Reader) (err error) {
		m.Modules, m.ModuleDefaults, err = ParseModules(r)
		return err
	})
}

func (l *loader) groups(ctx context.Context, m *Metadata) error {
	for _, kind := range []string{"group_zst", "group_xz", "group_gz", "group"} {
		if _, ok := m.repomd.files[kind]; !ok {
			continue
		}
		return l.with(ctx, m, kind, func(r io.Reader) error {
			data, err := io.ReadAll(io.LimitReader(r, maxComps+1))
			if err != nil {
				return err
			}
			if len(data) > maxComps {
				return fmt.Errorf("more than %d bytes", maxComps)
			}
			m.Groups, m.Environments, err = ParseComps(data)
			return err
		})
	}
	return nil
}

// with brings a metadata file, hands its content to read, and removes it.
func (l *loader) with(ctx context.Context, m *Metadata, kind string, read func(io.Reader) error) error {
	done, err := l.room()
	if err != nil {
		return err
	}
	defer done()
	f := m.repomd.files[kind]
	path := filepath.Join(l.folder(), kind+"-"+f.digest.Hex[:32])
	if err := l.download(ctx, m, kind, path); err != nil {
		return err
	}
	defer os.Remove(path)
	return readContent(path, kind, f, read)
}

func (l *loader) download(ctx context.Context, m *Metadata, kind, path string) error {
	f := m.repomd.files[kind]
	err := l.client.Download(ctx, fetch.Download{
		URLs: locationURLs(m.bases, f.location), Dest: path, SizeBytes: f.size, MaxBytes: maxPacked, Digest: f.digest.String(),
		Progress: func(done, total int64) { l.event(kind, done, total) },
	})
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	return nil
}

func readContent(path, kind string, f dataFile, read func(io.Reader) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	content, err := openContent(file, f)
	if err == nil {
		if err = read(content); err == nil {
			err = content.finish()
		}
	}
	if err != nil { // the file is the one that repomd.xml names: what is wrong is wrong in the source
		return fmt.Errorf("%s: %w", kind, malformed{err})
	}
	return nil
}

// lastingName is where a file of the metadata lies that is read again at each need.
func lastingName(kind string, f dataFile) string {
	if f.digest.Hex == "" {
		return ""
	}
	return kind + "-" + f.digest.Hex[:32]
}

// lasting brings a metadata file that stays in the cache as it came, and hands its content to read.
func (l *loader) lasting(ctx context.Context, m *Metadata, kind string, f dataFile, read func(io.Reader) error) error {
	done, err := l.room()
	if err != nil {
		return err
	}
	defer done()
	path := filepath.Join(l.folder(), lastingName(kind, f))
	if err := l.download(ctx, m, kind, path); err != nil {
		return err
	}
	return readContent(path, kind, f, read)
}
