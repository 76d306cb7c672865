// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"grove/internal/manifest"
	"grove/internal/rpm"
	"grove/internal/rpmmd"
	"grove/internal/sign"
)

// keyrings holds the keys of each source that this run takes packages from. The keys of one source vouch
// for its packages alone.
type keyrings struct {
	b  *build
	mu sync.Mutex
	by map[string]sign.Keyring
}

func newKeyrings(b *build) *keyrings { return &keyrings{b: b, by: map[string]sign.Keyring{}} }

// errNeedsFile says that a cached package's only signature spans its payload, so its file is needed again.
var errNeedsFile = errors.New("the signature can only be checked with the package file")

// check demands a good signature where the package's source asks for one (gpgcheck). With file nil the
// payload was checked when the package came into the cache: its digests are part of the signed header.
//
//	errors  *Distrust and other sign.ErrUntrusted, errNeedsFile
func (k *keyrings) check(p pick, pkg *rpm.Package, file io.ReaderAt) error {
	if k.b.o.NoGPGCheck || k.b.admitted(p) {
		return nil
	}
	ring, needed, err := k.of(p)
	if err != nil || !needed {
		return err
	}
	verdict, err := pkg.Verify(file, ring.VerifyFunc())
	if err != nil && file == nil {
		return errNeedsFile
	}
	if err != nil {
		return err
	}
	if verdict.Status != rpm.Good {
		return &Distrust{p.source, verdict}
	}
	return nil
}

// admitted is true for a package file that the deployment before was made of: whoever layered it had its signature checked, or said
// that it need not be. Asked again, every later change of the guest would have to go without any check.
func (b *build) admitted(p pick) bool {
	return p.source == LocalSource && b.o.Lock == nil && b.o.Previous != nil && slices.ContainsFunc(b.o.Previous.Packages, func(l manifest.LockedPackage) bool {
		return l.Source == LocalSource && l.NEVRA == p.meta.NEVRA.String() && l.Digest == p.meta.Digest.String()
	})
}

// Distrust says why a package is not taken by its signature. It is a sign.ErrUntrusted.
type Distrust struct {
	Source  string // id, or LocalSource
	Verdict rpm.Verdict
}

func (e *Distrust) Error() string {
	text := fmt.Sprintf("%v: %v", sign.ErrUntrusted, e.Verdict.Err())
	if e.Verdict.Status == rpm.DigestMismatch {
		text = "the file is damaged: " + e.Verdict.Detail
	}
	if e.Source == LocalSource {
		return text
	}
	return "source " + e.Source + ": " + text
}

func (e *Distrust) Is(target error) bool { return target == sign.ErrUntrusted }

// of gives the keys that may vouch for a package, and whether any has to.
func (k *keyrings) of(p pick) (sign.Keyring, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ring, ok := k.by[p.source]; ok {
		return ring, true, nil
	}
	var urls []string
	if p.source == LocalSource {
		// A file has no source: any of the guest's own sources may vouch for it.
		for _, s := range k.b.o.Sources {
			urls = append(urls, s.GPGKeys...)
		}
	} else {
		src, ok := k.b.source(p.source)
		if !ok {
			return sign.Keyring{}, true, fmt.Errorf("source %q is in no .repo file, so no key vouches for its packages: %w", p.source, sign.ErrUntrusted)
		}
		if !src.GPGCheck {
			return sign.Keyring{}, false, nil
		}
		urls = src.GPGKeys
	}
	ring, err := k.read(p, urls)
	if err != nil {
		return ring, true, err
	}
	k.by[p.source] = ring
	return ring, true, nil
}

// read reads the keys of a source. For a package file, keys that cannot be read are passed over: one of
// another source may vouch for it.
func (k *keyrings) read(p pick, urls []string) (sign.Keyring, error) {
	var ring sign.Keyring
	for _, name := range k.b.m.GPGKeys {
		data, err := k.b.readFile(name)
		if err != nil {
			return ring, fmt.Errorf("gpg-keys: %w", err)
		}
		more, err := sign.ParseKeyring(data)
		if err != nil {
			return ring, fmt.Errorf("gpg-keys: %s: %w", name, err)
		}
		ring = ring.Merge(more)
	}
	for _, u := range urls {
		data, err := k.b.o.ReadKey(u)
		if err == nil {
			var more sign.Keyring
			if more, err = sign.ParseKeyring(data); err == nil {
				ring = ring.Merge(more)
			}
		}
		if err != nil && p.source != LocalSource {
			return ring, fmt.Errorf("source %s: key %s: %w", p.source, u, err)
		}
	}
	ring.Legacy = true // distributions of long support are signed by keys of their time
	if ring.Len() == 0 {
		if p.source == LocalSource {
			return ring, fmt.Errorf("%w: no source of the guest names a key (gpgkey=) that could vouch for it", sign.ErrUntrusted)
		}
		return ring, fmt.Errorf("source %s: %w: it names no key (gpgkey=) that could vouch for its packages", p.source, sign.ErrUntrusted)
	}
	return ring, nil
}

func (b *build) source(id string) (rpmmd.Source, bool) {
	for _, s := range b.o.Sources {
		if s.ID == id {
			return s, true
		}
	}
	return rpmmd.Source{}, false
}
