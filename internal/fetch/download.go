// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
)

// maxRuns bounds how often one URL may break off after having brought bytes, which does not count as a try.
const maxRuns = 50

// Download says what is to become a file.
type Download struct {
	URLs      []string                // mirrors of the same bytes, best first
	Dest      string                  // path; its folder is made
	SizeBytes int64                   // 0 = not known
	Digest    string                  // "sha256:hex" of the whole file; "" = not known
	MaxBytes  int64                   // refuse more than this; 0 = SizeBytes, and one of the two is needed
	Progress  func(done, total int64) // bytes; total 0 = not known; called by one goroutine
}

// Download brings d.Dest from the first mirror that has it. A transfer that breaks off goes on where it stopped, also on the
// next mirror and, where the digest is known, in the next process. The file is complete, has its size and digest, and is on
// disk when Download returns; until then Dest is untouched. A Dest that already has the digest is left as it is.
//
//	errors  ErrNotFound if every mirror says so; ErrDigest, ErrTooLarge, ErrOffline
func (c *Client) Download(ctx context.Context, d Download) error {
	h, want, err := parseDigest(d.Digest)
	if err != nil {
		return err
	}
	if d.MaxBytes == 0 {
		d.MaxBytes = d.SizeBytes
	}
	if len(d.URLs) == 0 || d.MaxBytes <= 0 {
		return fmt.Errorf("fetch %s: no URL or no size limit", d.Dest)
	}
	if d.SizeBytes > d.MaxBytes {
		return fmt.Errorf("fetch %s: %w: %d bytes, at most %d", redact(d.URLs[0]), ErrTooLarge, d.SizeBytes, d.MaxBytes)
	}
	if h != nil && hasDigest(d, h, want) {
		return nil
	}
	if err := durable.MkdirAll(filepath.Dir(d.Dest), 0o755); err != nil {
		return err
	}
	p, err := openPart(d, h, want)
	if err != nil {
		return err
	}
	defer p.close()
	if err := c.fill(ctx, d, p); err != nil {
		return err
	}
	return p.finish(d.Dest)
}

// hasDigest says whether the destination is already what it shall become.
func hasDigest(d Download, h hash.Hash, want []byte) bool {
	defer h.Reset()
	f, err := os.Open(d.Dest)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > d.MaxBytes || (d.SizeBytes > 0 && info.Size() != d.SizeBytes) {
		return false
	}
	_, err = io.Copy(h, f)
	return err == nil && bytes.Equal(h.Sum(nil), want)
}

// fill tries the mirrors in rounds until one has brought the whole.
func (c *Client) fill(ctx context.Context, d Download, p *part) error {
	urls := append([]string(nil), d.URLs...)
	delay := c.backOff()
	var errs []error
	for round := 0; round < c.o.Tries && len(urls) > 0; round++ {
		if round > 0 {
			select {
			case <-time.After(delay.NextBackOff()):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		errs = errs[:0]
		var again []string
		for _, u := range urls {
			err := c.runs(ctx, d, p, u)
			if err == nil {
				return nil
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			errs = append(errs, err)
			if !isPermanent(ctx, err) || errors.Is(err, errStale) {
				again = append(again, u)
			}
		}
		urls = again
	}
	return mirrorError(d, errs)
}

// mirrorError is one line: the first mirror's reason, and how many others failed too. It is ErrNotFound only if all are.
func mirrorError(d Download, errs []error) error {
	first := errs[0]
	for _, err := range errs {
		if errors.Is(first, ErrNotFound) && !errors.Is(err, ErrNotFound) {
			first = err
		}
	}
	if len(errs) == 1 && len(d.URLs) == 1 {
		return first
	}
	return fmt.Errorf("%w (%d mirrors tried)", first, len(d.URLs))
}

// errStale is a part that did not match and was thrown away: worth another try from the beginning.
var errStale = errors.New("what was there already did not match")

// runs asks one URL, again and again as long as each time brings bytes.
func (c *Client) runs(ctx context.Context, d Download, p *part, url string) error {
	var err error
	for run := 0; run < maxRuns; run++ {
		before := p.size
		err = c.run(ctx, d, p, url)
		if errors.Is(err, errStale) && run == 0 {
			continue
		}
		if err == nil || isPermanent(ctx, err) || p.size <= before {
			return err
		}
	}
	return err
}

// run brings what is missing, once.
func (c *Client) run(ctx context.Context, d Download, p *part, url string) error {
	if d.SizeBytes == 0 || p.size < d.SizeBytes {
		if err := c.transfer(ctx, d, p, url); err != nil {
			return err
		}
	}
	if d.SizeBytes > 0 && p.size != d.SizeBytes {
		err := fmt.Errorf("fetch %s: got %d bytes, wanted %d", redact(url), p.size, d.SizeBytes)
		if e := p.reset(); e != nil {
			return permanent(e)
		}
		return err
	}
	if p.hash == nil || bytes.Equal(p.hash.Sum(nil), p.want) {
		return nil
	}
	got := hex.EncodeToString(p.hash.Sum(nil))
	err := permanent(fmt.Errorf("fetch %s: %w: got %s, wanted %s", redact(url), ErrDigest, got, hex.EncodeToString(p.want)))
	if p.mixed {
		err = fmt.Errorf("fetch %s: %w", redact(url), errStale)
	}
	if e := p.reset(); e != nil {
		return permanent(e)
	}
	return err
}

func (c *Client) transfer(ctx context.Context, d Download, p *part, url string) error {
	var from rangeFrom
	if p.size > 0 && (p.hash != nil || (p.url == url && p.validator != "")) {
		from.offset = p.size
		if p.url == url {
			from.validator = p.validator
		}
	}
	s, err := c.open(ctx, url, from)
	if errors.Is(err, errStale) {
		if e := p.reset(); e != nil {
			return permanent(e)
		}
	}
	if err != nil {
		return err
	}
	defer s.Close()
	if s.offset != p.size {
		if err := p.reset(); err != nil {
			return permanent(err)
		}
	}
	total := d.SizeBytes
	if s.size >= 0 {
		total = s.offset + s.size
	}
	if d.SizeBytes > 0 && total != d.SizeBytes {
		return permanent(fmt.Errorf("fetch %s: %w: server has %d bytes, wanted %d", redact(url), ErrDigest, total, d.SizeBytes))
	}
	if total > d.MaxBytes {
		return permanent(fmt.Errorf("fetch %s: %w: %d bytes, at most %d", redact(url), ErrTooLarge, total, d.MaxBytes))
	}
	p.mixed = p.mixed || (p.size > 0 && p.url != url)
	p.url, p.validator = url, s.validator
	report := func() {
		if d.Progress != nil {
			d.Progress(p.size, total)
		}
	}
	report()
	return p.copy(s, d.MaxBytes, url, report)
}

// part is a file that grows beside its destination, locked against other processes.
type part struct {
	f         *os.File
	path      string
	hash      hash.Hash // nil without digest
	want      []byte
	size      int64
	url       string // where the last bytes came from
	validator string
	mixed     bool // bytes of more than one URL or of an earlier process
	done      bool
}

func openPart(d Download, h hash.Hash, want []byte) (*part, error) {
	p := &part{hash: h, want: want}
	name := "." + filepath.Base(d.Dest)
	if h != nil {
		name += "." + hex.EncodeToString(want[:8]) // bytes of another version must not be taken for ours
	}
	base := filepath.Join(filepath.Dir(d.Dest), name)
	for i := 0; i < 100; i++ {
		p.path = fmt.Sprintf("%s.%d.part", base, i)
		f, err := os.OpenFile(p.path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
		if err != nil {
			return nil, err
		}
		if ours(f, p.path) {
			p.f = f
			return p, p.resume(d)
		}
		f.Close() // another process is at it: take the next number
	}
	return nil, fmt.Errorf("open %s.N.part: all in use", base)
}

// ours locks f and makes sure that it still has its name.
func ours(f *os.File, path string) bool {
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false
	}
	a, err := f.Stat()
	b, err2 := os.Lstat(path)
	return err == nil && err2 == nil && os.SameFile(a, b)
}

// resume takes what an earlier process left, where a digest will tell whether it is right.
func (p *part) resume(d Download) error {
	info, err := p.f.Stat()
	if err != nil {
		return err
	}
	if p.hash == nil || info.Size() > d.MaxBytes || (d.SizeBytes > 0 && info.Size() > d.SizeBytes) {
		return p.reset()
	}
	p.size, err = io.Copy(p.hash, p.f)
	p.mixed = p.size > 0
	return err
}

func (p *part) reset() error {
	p.size, p.mixed, p.url, p.validator = 0, false, "", ""
	if p.hash != nil {
		p.hash.Reset()
	}
	if _, err := p.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return p.f.Truncate(0)
}

func (p *part) copy(r io.Reader, maxBytes int64, url string, report func()) error {
	buf := make([]byte, 128<<10)
	for {
		n, err := r.Read(buf)
		if p.size+int64(n) > maxBytes {
			if e := p.reset(); e != nil {
				return permanent(e)
			}
			return permanent(fmt.Errorf("fetch %s: %w: more than %d bytes", redact(url), ErrTooLarge, maxBytes))
		}
		if n > 0 {
			if _, e := p.f.Write(buf[:n]); e != nil {
				return permanent(e)
			}
			if p.hash != nil {
				p.hash.Write(buf[:n])
			}
			p.size += int64(n)
			report()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (p *part) finish(dest string) error {
	if err := p.f.Chmod(0o644); err != nil {
		return err
	}
	if err := durable.SyncFile(p.f); err != nil {
		return err
	}
	if err := durable.Rename(p.path, dest); err != nil {
		return err
	}
	p.done = true
	return nil
}

// close leaves a part that a later process can go on with, and removes any other.
func (p *part) close() {
	if !p.done && (p.hash == nil || p.size == 0) {
		os.Remove(p.path)
	}
	p.f.Close()
}
