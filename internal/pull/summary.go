// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/fetch"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/sign"
	"grove/internal/trust"
)

// readSummary brings the summary, and holds it against its signature where the remote asks for that. What was brought before
// is used again where the server says that it has the same still, or has the same signature.
func (rem *remote) readSummary(ctx context.Context) error {
	if rem.summaryRead {
		return nil
	}
	if err := rem.bringSummary(ctx, true); err != nil {
		return fmt.Errorf("summary: %w", err)
	}
	rem.summaryRead = true
	return nil
}

// bringSummary reads, verifies and parses the summary. With useCache it begins anew without the cache when what came of that
// is not good.
func (rem *remote) bringSummary(ctx context.Context, useCache bool) error {
	var cached bool
	var err error
	if rem.local != nil {
		err = rem.localSummary()
	} else {
		cached, err = rem.fetchSummary(ctx, useCache)
	}
	if err != nil {
		return err
	}
	if err = rem.takeSummary(); err != nil && cached {
		return rem.bringSummary(ctx, false)
	}
	if err == nil {
		rem.saveSummary()
	}
	return err
}

// takeSummary holds what came against the policy and reads it.
func (rem *remote) takeSummary() error {
	if _, err := rem.policy.Summary(rem.summaryData, rem.summarySig); err != nil {
		return err
	}
	if rem.summaryData == nil {
		return nil
	}
	s, err := ostree.ParseSummary(rem.summaryData)
	if err != nil {
		return err
	}
	if err := rem.checkExpiry(s); err != nil {
		return err
	}
	rem.collection, _ = s.Metadata.Str(ostree.SummaryCollectionID)
	if rem.collection != "" {
		if err := ostree.CheckCollectionID(rem.collection); err != nil {
			return err
		}
	}
	rem.summary = &s
	return nil
}

// checkExpiry refuses a summary that its maker wanted to be good no longer. Where its signature is not asked for, anybody
// could have written another date, and it is only said.
func (rem *remote) checkExpiry(s ostree.Summary) error {
	sec, ok := s.ExpiresSec()
	if !ok || uint64(time.Now().Unix()) < sec {
		return nil
	}
	at := time.Unix(int64(min(sec, 1<<40)), 0).UTC().Format(time.RFC3339)
	if rem.policy.WantsSummary() {
		return fmt.Errorf("%w: it expired at %s", sign.ErrUntrusted, at)
	}
	rem.warnings = append(rem.warnings, "the remote's summary expired at "+at)
	return nil
}

func (rem *remote) localSummary() (err error) {
	if rem.summaryData, err = readFile(filepath.Join(rem.local.Path(), "summary"), maxSummary); err != nil {
		return err
	}
	rem.summarySig, err = readFile(filepath.Join(rem.local.Path(), "summary.sig"), maxSmall)
	return err
}

// fetchSummary brings summary and signature. It reports whether what it gives is, all or in part, of the cache.
//
//	source  ostree src/libostree/ostree-repo-pull.c, ostree_repo_pull_with_options
func (rem *remote) fetchSummary(ctx context.Context, useCache bool) (cached bool, err error) {
	if rem.summaryData != nil && rem.conf.Options["metalink"] != "" && rem.summary == nil { // the metalink brought it
		sig, err := rem.optional(ctx, "summary.sig", fetch.Page{}, maxSmall)
		rem.summarySig = sig.Data
		return false, err
	}
	var have, haveSig fetch.Page
	if useCache {
		have, haveSig = rem.cachedPage("", maxSummary), rem.cachedPage(".sig", maxSmall)
	}
	ask := haveSig
	if have.Data == nil {
		ask = fetch.Page{} // the signature alone is of no use
	}
	sig, err := rem.optional(ctx, "summary.sig", ask, maxSmall)
	if err != nil {
		return false, err
	}
	if sig.Same || sig.Data != nil && have.Data != nil && bytes.Equal(sig.Data, haveSig.Data) {
		rem.summaryData, rem.summarySig = have.Data, haveSig.Data
		return true, nil
	}
	rem.summarySig = sig.Data
	page, err := rem.optional(ctx, "summary", have, maxSummary)
	if err != nil {
		return false, err
	}
	if page.Same {
		page.Data = have.Data
	}
	rem.summaryData = page.Data
	rem.fresh, rem.freshSig = page, sig
	return page.Same, nil
}

// saveSummary keeps what came from the server and was good for the next time.
func (rem *remote) saveSummary() {
	if rem.fresh.Data == nil {
		return
	}
	if !rem.fresh.Same {
		rem.savePage("", rem.fresh)
	}
	if rem.freshSig.Data != nil {
		rem.savePage(".sig", rem.freshSig)
	} else {
		os.Remove(rem.cachePath(".sig"))
	}
	rem.fresh, rem.freshSig = fetch.Page{}, fetch.Page{}
}

// optional is GetIfNew of a file of the remote that need not be there: its Data is nil then.
func (rem *remote) optional(ctx context.Context, name string, have fetch.Page, maxBytes int64) (page fetch.Page, err error) {
	err = each(rem.meta, func(base string) error {
		page, err = rem.client.GetIfNew(ctx, base+name, have, maxBytes)
		return err
	})
	if errors.Is(err, fetch.ErrNotFound) {
		return fetch.Page{}, nil
	}
	if err == nil && page.Data == nil && !page.Same {
		page.Data = []byte{}
	}
	return page, err
}

// etagXattr holds the server's tag of a cached file; its time is Last-Modified. libostree keeps both in the same way.
//
//	source  ostree src/libostree/ostree-repo-pull.c, store_file_cache_properties
const etagXattr = "user.etag"

func (rem *remote) cachePath(ext string) string {
	return filepath.Join(rem.cacheDir, "summaries", rem.name+ext)
}

// cachedPage is what is left of an earlier time; without Data where there is nothing that is of use.
func (rem *remote) cachedPage(ext string, maxBytes int64) fetch.Page {
	path := rem.cachePath(ext)
	data, err := readFile(path, maxBytes)
	if err != nil || data == nil {
		return fetch.Page{}
	}
	p := fetch.Page{Data: data}
	var tag [1024]byte
	if n, err := unix.Getxattr(path, etagXattr, tag[:]); err == nil && bytes.IndexByte(tag[:n], 0) < 0 {
		p.ETag = string(tag[:n])
	}
	if info, err := os.Stat(path); err == nil {
		p.ModifiedSec = info.ModTime().Unix()
	}
	return p
}

// savePage keeps a page for the next time. A cache that cannot be written is no error.
func (rem *remote) savePage(ext string, p fetch.Page) {
	path := rem.cachePath(ext)
	if os.MkdirAll(filepath.Dir(path), 0o755) != nil || durable.WriteFile(path, p.Data, 0o644) != nil {
		return
	}
	tagFile(path, p)
}

// tagFile notes by what the server tells versions apart.
func tagFile(path string, p fetch.Page) {
	if p.ETag != "" {
		unix.Setxattr(path, etagXattr, []byte(p.ETag), 0)
	} else {
		unix.Removexattr(path, etagXattr)
	}
	if p.ModifiedSec > 0 {
		t := time.Unix(p.ModifiedSec, 0)
		os.Chtimes(path, t, t)
	}
}

// readFile reads a regular file of at most maxBytes; nil if there is none.
func readFile(path string, maxBytes int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxBytes {
		return nil, fmt.Errorf("%s: no regular file of at most %d bytes", path, maxBytes)
	}
	data := make([]byte, info.Size())
	_, err = io.ReadFull(f, data)
	return data, err
}

// mirrorSummary gives the mirror the summary that came, byte for byte, with its signatures: clients verify it as from upstream.
func (rem *remote) mirrorSummary(r *repo.Repo) error {
	path := filepath.Join(r.Path(), "summary")
	now, err := readFile(path, maxSummary)
	if err == nil && bytes.Equal(now, rem.summaryData) && rem.summarySig == nil {
		return removeIfThere(path + ".sig")
	}
	nowSig, sigErr := readFile(path+".sig", maxSmall)
	if err == nil && sigErr == nil && bytes.Equal(now, rem.summaryData) && bytes.Equal(nowSig, rem.summarySig) {
		return nil
	}
	// a client must not see the new summary with the old signatures: better none
	if err := removeIfThere(path + ".sig"); err != nil {
		return err
	}
	if err := durable.WriteFile(path, rem.summaryData, 0o644); err != nil || rem.summarySig == nil {
		return err
	}
	return durable.WriteFile(path+".sig", rem.summarySig, 0o644)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Summary is what a remote says of itself.
type Summary struct {
	ostree.Summary
	Data     []byte       // the file's bytes
	Marks    []trust.Mark // its signatures, and what each is worth
	Warnings []string
}

// SummaryOf brings the summary of a remote, verified as its configuration asks.
//
//	errors  as Pull; text only where there is none
func SummaryOf(ctx context.Context, r *repo.Repo, name string, o Options) (Summary, error) {
	rem, err := openRemote(ctx, r, name, o)
	if err != nil {
		return Summary{}, fmt.Errorf("summary of %s: %w", name, err)
	}
	defer rem.close()
	if err := rem.readSummary(ctx); err != nil {
		return Summary{}, fmt.Errorf("%s: %w", name, err)
	}
	if rem.summary == nil {
		return Summary{}, fmt.Errorf("summary of %s: the remote has none", name)
	}
	sigs, err := ostree.ParseDetached(rem.summarySig)
	if err != nil {
		return Summary{}, fmt.Errorf("summary of %s: %w", name, err)
	}
	return Summary{*rem.summary, rem.summaryData, rem.policy.Examine(rem.summaryData, sigs), rem.warnings}, nil
}
