// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"errors"
	"fmt"
	"io"
	"sync"

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
//	errors  sign.ErrUntrusted, errNeedsFile
func (k *keyrings) check(p pick, pkg *rpm.Package, file io.ReaderAt) error {
	if k.b.o.NoGPGCheck {
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
		return fmt.Errorf("source %s: %w: %w", p.source, sign.ErrUntrusted, verdict.Err())
	}
	return nil
}

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
		return ring, fmt.Errorf("source %s: %w: no key (gpgkey=) vouches for its packages", p.source, sign.ErrUntrusted)
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
