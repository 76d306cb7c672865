// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"grove/internal/rpm"
)

// fileIndex is the compact form of file lists: which package has a path is found without looking at the text of any other. Its
// sections:
//
//	dirs      where the text of each folder ends in the next section (4 bytes each)
//	dirtexts  folders with their final slash, each once; the first is "", of names without one (source packages)
//	packages  where the text of each checksum ends in the next section, where its files end in the one after (4 bytes each)
//	ids       checksums of packages, in hex
//	files     folder, where the rest of the path ends in the last section (4 bytes each)
//	names     what stands behind the folder
type fileIndex [indexSections][]byte

const (
	idxDirs = iota
	idxDirTexts
	idxPackages
	idxIDs
	idxFiles
	idxNames
	indexSections

	indexMagic = "grove files 1\n\x00\x00"
	maxFolders = 1 << 28 // Fedora has 700,000
)

// indexer makes a fileIndex of lists in the order in which they come.
type indexer struct {
	fileIndex
	dirs map[string]uint32
	last string // folder of the file before
	at   uint32
}

func newIndexer() *indexer {
	w := &indexer{dirs: map[string]uint32{"": 0}}
	w.fileIndex[idxDirs] = make([]byte, 4)
	return w
}

func (w *indexer) add(pkgid string, files []string) error {
	le := binary.LittleEndian
	for _, f := range files {
		slash := strings.LastIndexByte(f, '/') + 1
		if dir := f[:slash]; dir != w.last {
			w.at = w.dir(dir)
			w.last = dir
		}
		w.fileIndex[idxNames] = append(w.fileIndex[idxNames], f[slash:]...)
		w.fileIndex[idxFiles] = le.AppendUint32(le.AppendUint32(w.fileIndex[idxFiles], w.at), uint32(len(w.fileIndex[idxNames])))
	}
	w.fileIndex[idxIDs] = append(w.fileIndex[idxIDs], pkgid...)
	ends := le.AppendUint32(w.fileIndex[idxPackages], uint32(len(w.fileIndex[idxIDs])))
	w.fileIndex[idxPackages] = le.AppendUint32(ends, uint32(len(w.fileIndex[idxFiles])/8))
	for _, s := range w.fileIndex {
		if len(s) > math.MaxUint32 {
			return errors.New("the file lists are too large")
		}
	}
	return nil
}

func (w *indexer) dir(dir string) uint32 {
	n, ok := w.dirs[dir]
	if !ok {
		n = uint32(len(w.dirs))
		dir = strings.Clone(dir)
		w.dirs[dir] = n
		w.fileIndex[idxDirTexts] = append(w.fileIndex[idxDirTexts], dir...)
		w.fileIndex[idxDirs] = binary.LittleEndian.AppendUint32(w.fileIndex[idxDirs], uint32(len(w.fileIndex[idxDirTexts])))
	}
	return n
}

// openIndex finds the sections of what was written and checks them.
//
//	errors  errDamaged
func openIndex(data []byte) (fileIndex, error) {
	all, err := readSections(indexMagic, data, indexSections)
	if err != nil {
		return fileIndex{}, err
	}
	x := fileIndex(all)
	if len(x[idxDirs])%4 != 0 || len(x[idxDirs]) > 4*maxFolders || len(x[idxPackages])%8 != 0 || len(x[idxFiles])%8 != 0 {
		return fileIndex{}, errDamaged
	}
	return x, nil
}

// word is the number at i of a section, in words of 4 bytes; that before the first is 0.
func (x *fileIndex) word(section, i int) int {
	if i < 0 {
		return 0
	}
	return int(binary.LittleEndian.Uint32(x[section][4*i:]))
}

// text is what stands from one place to the other.
func (x *fileIndex) text(section, from, to int) ([]byte, error) {
	if from > to || to > len(x[section]) {
		return nil, errDamaged
	}
	return x[section][from:to], nil
}

// wanted says which files are looked for; the zero value: all.
type wanted struct {
	paths, dirs map[string]bool // dirs: the folders of paths, with their slash
	globs       []string
}

func newWanted(paths, globs []string) wanted {
	w := wanted{globs: globs}
	if len(paths)+len(globs) == 0 {
		return w
	}
	w.paths, w.dirs = map[string]bool{}, map[string]bool{}
	for _, p := range paths {
		w.paths[p] = true
		w.dirs[p[:strings.LastIndexByte(p, '/')+1]] = true
	}
	return w
}

// dir tells whether something in a folder may be wanted.
func (w *wanted) dir(text string) bool {
	return w.paths == nil || w.dirs[text] || slices.ContainsFunc(w.globs, func(g string) bool {
		fixed := g // the path begins so
		if i := strings.IndexAny(g, `*?[\`); i >= 0 {
			fixed = g[:i]
		}
		return strings.HasPrefix(text, fixed) || strings.HasPrefix(fixed, text)
	})
}

func (w *wanted) file(path string) bool {
	return w.paths == nil || w.paths[path] || slices.ContainsFunc(w.globs, func(g string) bool { return rpm.Glob(g, path) })
}

// each calls f for each package, in order, with those of its files that are wanted. f is not called where there are none.
//
//	errors  errDamaged, and those of f
func (x *fileIndex) each(w wanted, f func(pkgid string, files []string) error) error {
	dirs, err := x.wantedDirs(&w)
	if err != nil {
		return err
	}
	file := 0
	for p := range len(x[idxPackages]) / 8 {
		end := x.word(idxPackages, 2*p+1)
		if end < file || end > len(x[idxFiles])/8 {
			return errDamaged
		}
		var files []string
		for ; file < end; file++ {
			dir := x.word(idxFiles, 2*file)
			if dir >= len(dirs) {
				return errDamaged
			}
			if !dirs[dir] {
				continue
			}
			path, err := x.path(dir, file)
			if err != nil {
				return err
			}
			if w.file(path) {
				files = append(files, path)
			}
		}
		if len(files) == 0 {
			continue
		}
		id, err := x.text(idxIDs, x.word(idxPackages, 2*p-2), x.word(idxPackages, 2*p))
		if err == nil {
			err = f(string(id), files)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wantedDirs says of each folder whether a wanted path lies in it.
func (x *fileIndex) wantedDirs(w *wanted) ([]bool, error) {
	dirs := make([]bool, len(x[idxDirs])/4)
	for i := range dirs {
		text, err := x.text(idxDirTexts, x.word(idxDirs, i-1), x.word(idxDirs, i))
		if err != nil {
			return nil, err
		}
		dirs[i] = w.dir(string(text))
	}
	return dirs, nil
}

func (x *fileIndex) path(dir, file int) (string, error) {
	folder, err := x.text(idxDirTexts, x.word(idxDirs, dir-1), x.word(idxDirs, dir))
	if err != nil {
		return "", err
	}
	name, err := x.text(idxNames, x.word(idxFiles, 2*file-1), x.word(idxFiles, 2*file+1))
	return string(folder) + string(name), err
}

// filelists completes the files of m's packages. The lists are read from their XML once.
func (l *loader) filelists(ctx context.Context, m *Metadata, w wanted) error {
	f, ok := m.repomd.files["filelists"]
	if !ok {
		return ErrNoFilelists
	}
	path := filepath.Join(l.dir, indexName(f))
	if l.dir != "" {
		if data, err := mapFile(path); err == nil {
			defer unix.Munmap(data)
			if x, err := openIndex(data); err == nil && m.addFiles(&x, w) == nil {
				return nil
			}
		}
	}
	made := newIndexer()
	err := l.with(ctx, m, "filelists", func(r io.Reader) error { return ParseFilelists(r, nil, made.add) })
	if err != nil {
		return err
	}
	if l.dir != "" {
		if err := keepSections(path, indexMagic, made.fileIndex[:]); err != nil {
			return err
		}
	}
	return m.addFiles(&made.fileIndex, w)
}

func indexName(f dataFile) string { return lastingName("files", f) }

// addFiles gives each package the files that the index has for it.
func (m *Metadata) addFiles(x *fileIndex, w wanted) error {
	found := map[string][]string{}
	err := x.each(w, func(pkgid string, files []string) error {
		found[pkgid] = files
		return nil
	})
	if err != nil {
		return fmt.Errorf("filelists: %w", err)
	}
	for i := range m.Packages {
		p := &m.Packages[i]
		files, ok := found[p.Digest.Hex]
		switch {
		case !ok:
		case w.paths == nil:
			p.Files = files
		default:
			have := make(map[string]bool, len(p.Files))
			for _, f := range p.Files {
				have[f] = true
			}
			for _, f := range files {
				if !have[f] {
					p.Files = append(p.Files[:len(p.Files):len(p.Files)], f)
				}
			}
		}
	}
	return nil
}
