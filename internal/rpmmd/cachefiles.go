// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
)

func (l *loader) cachedState(ctx context.Context) (state, time.Duration, error) {
	if l.dir == "" {
		return state{}, 0, fs.ErrNotExist
	}
	path := filepath.Join(l.dir, "repomd.xml")
	data, err := readFile(path, maxRepomd)
	if err != nil {
		return state{}, 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return state{}, 0, err
	}
	var asc []byte
	if l.src.RepoGPGCheck {
		if asc, err = readFile(path+".asc", maxSignature); err != nil {
			return state{}, 0, err
		}
	}
	mirrors, err := readFile(filepath.Join(l.dir, "mirrors"), maxMirrors)
	if err != nil {
		return state{}, 0, err
	}
	var bases []string
	for _, b := range strings.Fields(string(mirrors)) {
		if b, err = checkBase(b); err != nil {
			return state{}, 0, err
		}
		bases = append(bases, b)
	}
	st, err := l.verified(ctx, data, asc)
	st.bases, st.cached = bases, true
	return st, time.Since(info.ModTime()), err
}

func (l *loader) keepBases(bases []string) error {
	if l.dir == "" {
		return nil
	}
	return refresh(filepath.Join(l.dir, "mirrors"), []byte(strings.Join(bases, "\n")+"\n"))
}

// refresh writes a file of the cache, or only notes that it is as fresh as now where it says the same already.
func refresh(path string, data []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		now := time.Now()
		if err = os.Chtimes(path, now, now); errors.Is(err, unix.EROFS) { // the cache is only looked at, and is right
			return nil
		}
		return err
	}
	return durable.WriteFile(path, data, 0o644)
}

// parsed is where the compact form of a revision lies.
func (l *loader) parsed(m *Metadata) string {
	return filepath.Join(l.dir, "parsed-"+m.RevisionDigest[:32])
}

func (l *loader) fromCache(m *Metadata) bool {
	if l.dir == "" {
		return false
	}
	data, err := mapFile(l.parsed(m))
	if err != nil {
		return false
	}
	mem := &slab{off: true}
	c, err := unpack(data, mem)
	if err == nil {
		err = mem.seal()
	}
	if err != nil {
		mem.free()
		unix.Munmap(data)
		return false
	}
	m.Packages = c.packages
	m.Groups, m.Environments, m.Modules, m.ModuleDefaults = c.Groups, c.Environments, c.Modules, c.ModuleDefaults
	return true
}

// keep writes the compact form and clears those of other revisions.
func (l *loader) keep(m *Metadata) error {
	if l.dir == "" {
		return nil
	}
	all, err := pack(content{m.Packages, extras{m.Groups, m.Environments, m.Modules, m.ModuleDefaults}})
	if err != nil {
		return err
	}
	if err := keepSections(l.parsed(m), cacheMagic, all); err != nil {
		return err
	}
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	keep := map[string]bool{
		filepath.Base(l.parsed(m)): true, indexName(m.repomd.files["filelists"]): true, lastingName("updateinfo", m.repomd.files["updateinfo"]): true,
	}
	for _, e := range entries {
		name := e.Name()
		if kind, _, ok := strings.Cut(name, "-"); ok && !keep[name] && (kind == "parsed" || kind == "files" || kind == "filelists" || kind == "updateinfo") {
			os.Remove(filepath.Join(l.dir, name))
		}
	}
	return nil
}

func keepSections(path, magic string, all [][]byte) error {
	return durable.Write(path, 0o644, func(w io.Writer) error { return writeSections(w, magic, all) })
}

// mapFile maps a file of the cache for as long as the process lives: the texts of the packages lie in it. Such a file is replaced
// or removed, never written again.
func mapFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 || info.Size() > maxOpen {
		return nil, errDamaged
	}
	return unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_POPULATE)
}

func readFile(path string, maxBytes int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && int64(len(data)) > maxBytes {
		err = fmt.Errorf("read %s: more than %d bytes", path, maxBytes)
	}
	return data, err
}
