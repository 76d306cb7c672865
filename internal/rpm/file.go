// SPDX-License-Identifier: Apache-2.0

package rpm

import (
	"fmt"
	"strings"
)

// Types of a file, in the bits of a mode.
const (
	modeType    = 0o170000
	modeRegular = 0o100000
	modeDir     = 0o040000
	modeSymlink = 0o120000
)

// maxFiles bounds the memory for one package: some 300 bytes each. Packages of 100,000 files exist.
const maxFiles = 1 << 20

// maxPathBytes is Linux' PATH_MAX; nothing longer can be unpacked.
const maxPathBytes = 4096

// maxPathsBytes bounds all paths of a package together: few directory names can be asked for very often.
const maxPathsBytes = 256 << 20

// File is one file as the header describes it.
//
//	shape   Path absolute and clean (a source package: a bare name); Digest lower-case hex by the header's FILEDIGESTALGO, "" for none;
//	        Caps as "cap_net_raw=ep"; IMA and Verity hex; Links the paths of all names of a hard-linked file (this one among them), nil for one
//	units   Mode with the type bits; NLink counts the names inside this package; RDev as rpm stores it (16 bits: major<<8 | minor)
type File struct {
	Path        string
	Mode        uint32
	User, Group string
	SizeBytes   int64
	MTimeSec    int64
	Digest      string
	LinkTo      string
	Flags       uint32
	VerifyFlags uint32
	Device      uint32
	Inode       uint32
	NLink       int
	RDev        uint32
	Color       uint32
	Caps        string
	Lang        string
	Class       string
	IMA         string
	Verity      string
	Links       []string
	State       byte // in a database of installed packages (RPMFILE_STATE_*): 0 normal, 1 replaced by another package's, 2 not installed
}

// IsDir, IsRegular, IsSymlink and IsGhost tell what the mode and the flags say.
func (f *File) IsDir() bool     { return f.Mode&modeType == modeDir }
func (f *File) IsRegular() bool { return f.Mode&modeType == modeRegular }
func (f *File) IsSymlink() bool { return f.Mode&modeType == modeSymlink }
func (f *File) IsGhost() bool   { return f.Flags&FileGhost != 0 }

// Paths gives the path of each file, in the header's order.
//
//	errors  text only: arrays that do not match, a path that is relative, unclean, too long or holds ".."
func (h *Header) Paths() ([]string, error) {
	for _, tag := range []uint32{TagBasenames, TagOldFilenames} {
		if e, ok := h.find(tag); ok && e.cnt > maxFiles {
			return nil, fmt.Errorf("header: %d files, limit %d", e.cnt, maxFiles)
		}
	}
	source := h.IsSource()
	if !h.Has(TagBasenames) {
		old := h.Strings(TagOldFilenames)
		for _, p := range old {
			if err := checkPath(p, source); err != nil {
				return nil, err
			}
		}
		return old, nil
	}
	bases, dirs, idx := h.Strings(TagBasenames), h.Strings(TagDirNames), h.Uint32s(TagDirIndexes)
	if len(idx) != len(bases) {
		return nil, fmt.Errorf("header: %d base names, %d directory indexes", len(bases), len(idx))
	}
	total := 0
	for i, b := range bases {
		if int64(idx[i]) >= int64(len(dirs)) {
			return nil, fmt.Errorf("header: file %d: directory %d of %d", i, idx[i], len(dirs))
		}
		n := len(dirs[idx[i]]) + len(b)
		if total += n; n > maxPathBytes || total > maxPathsBytes {
			return nil, fmt.Errorf("header: file %d: path of %d bytes, limit %d; all of %d bytes, limit %d", i, n, maxPathBytes, total, maxPathsBytes)
		}
	}
	var all strings.Builder // one allocation for all paths
	all.Grow(total)
	out := make([]string, len(bases))
	for i, b := range bases {
		start := all.Len()
		all.WriteString(dirs[idx[i]])
		all.WriteString(b)
		out[i] = all.String()[start:]
		if err := checkPath(out[i], source); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func checkPath(p string, source bool) error {
	if len(p) > maxPathBytes {
		return fmt.Errorf("header: path of %d bytes, limit %d", len(p), maxPathBytes)
	}
	rest, absolute := strings.CutPrefix(p, "/")
	if absolute == source || source && strings.Contains(p, "/") {
		return fmt.Errorf("header: path %q: want %s", p, map[bool]string{true: "a bare name", false: "an absolute path"}[source])
	}
	if rest == "" && absolute {
		return nil // the root itself
	}
	for more := true; more; {
		var name string
		if name, rest, more = strings.Cut(rest, "/"); name == "" || name == "." || name == ".." {
			return fmt.Errorf("header: path %q: %q is not a name", p, name)
		}
	}
	return nil
}

// DigestAlgo gives the algorithm of the file digests ("md5" where the header names none) and of PAYLOADDIGEST ("sha256").
//
//	errors  text only, for a number that is not known
func (h *Header) DigestAlgo(tag uint32) (string, error) {
	n, ok := h.Uint32(tag)
	switch {
	case !ok && tag == TagFileDigestAlgo:
		return "md5", nil
	case !ok:
		return "sha256", nil
	}
	name, ok := digestNames[n]
	if !ok {
		return "", fmt.Errorf("header: tag %d: digest algorithm %d is not known", tag, n)
	}
	return name, nil
}

// Files gives all files in the header's order.
//
//	errors  as Paths
func (h *Header) Files() ([]File, error) {
	paths, err := h.Paths()
	if err != nil {
		return nil, err
	}
	files := make([]File, len(paths))
	for i := range files {
		files[i].Path = paths[i]
	}
	if len(files) == 0 {
		return nil, nil
	}
	if err := h.fillNumbers(files); err != nil {
		return nil, err
	}
	if err := h.fillStrings(files); err != nil {
		return nil, err
	}
	linkFiles(files, h.Has(TagFileInodes))
	if _, _, states, ok := h.Raw(TagFileStates); ok && len(states) == len(files) {
		for i := range files {
			files[i].State = states[i]
		}
	}
	return files, nil
}

func (h *Header) fillNumbers(files []File) error {
	set := func(f *File, tag uint32, v uint64) {
		switch tag {
		case TagFileSizes, TagLongFileSizes:
			f.SizeBytes = int64(v)
		case TagFileModes:
			f.Mode = uint32(v)
		case TagFileMTimes:
			f.MTimeSec = int64(v)
		case TagFileFlags:
			f.Flags = uint32(v)
		case TagFileVerifyFlags:
			f.VerifyFlags = uint32(v)
		case TagFileDevices:
			f.Device = uint32(v)
		case TagFileInodes:
			f.Inode = uint32(v)
		case TagFileRDevs:
			f.RDev = uint32(v)
		case TagFileColors:
			f.Color = uint32(v)
		}
	}
	for _, tag := range []uint32{TagFileSizes, TagLongFileSizes, TagFileModes, TagFileMTimes, TagFileFlags,
		TagFileVerifyFlags, TagFileDevices, TagFileInodes, TagFileRDevs, TagFileColors} {
		values := h.Uint64s(tag)
		if values == nil {
			continue
		}
		if len(values) != len(files) {
			return fmt.Errorf("header: tag %d: %d values for %d files", tag, len(values), len(files))
		}
		for i, v := range values {
			if v > 1<<62 {
				return fmt.Errorf("header: file %q: size %d", files[i].Path, v)
			}
			set(&files[i], tag, v)
		}
	}
	return nil
}

func (h *Header) fillStrings(files []File) error {
	for _, t := range []struct {
		tag   uint32
		field func(*File) *string
	}{
		{TagFileUserName, func(f *File) *string { return &f.User }},
		{TagFileGroupName, func(f *File) *string { return &f.Group }},
		{TagFileDigests, func(f *File) *string { return &f.Digest }},
		{TagFileLinkTos, func(f *File) *string { return &f.LinkTo }},
		{TagFileCaps, func(f *File) *string { return &f.Caps }},
		{TagFileLangs, func(f *File) *string { return &f.Lang }},
		{TagFileSignatures, func(f *File) *string { return &f.IMA }},
		{TagVeritySignatures, func(f *File) *string { return &f.Verity }},
	} {
		values := h.Strings(t.tag)
		if values == nil {
			continue
		}
		if len(values) != len(files) {
			return fmt.Errorf("header: tag %d: %d values for %d files", t.tag, len(values), len(files))
		}
		for i, v := range values {
			*t.field(&files[i]) = v
		}
	}
	for i := range files { // rpm takes root for a user that it cannot find, and "" is none
		if files[i].User == "" {
			files[i].User = "root"
		}
		if files[i].Group == "" {
			files[i].Group = "root"
		}
	}
	classes, dict := h.Uint32s(TagFileClass), h.Strings(TagClassDict)
	for i := range min(len(classes), len(files)) {
		if int64(classes[i]) < int64(len(dict)) {
			files[i].Class = dict[classes[i]]
		}
	}
	return nil
}

// linkFiles counts the names that share an inode. Ghosts take no part: they have no content to share. Names that
// pretend to share an inode but differ in size or digest are taken for files of their own.
//
//	source  rpm lib/rpmfi.cc, rpmfilesBuildNLink
func linkFiles(files []File, inodes bool) {
	type node struct {
		device, inode uint32
		size          int64
		digest        string
	}
	sets := make(map[node][]int)
	for i := range files {
		f := &files[i]
		f.NLink = 1
		if inodes && f.IsRegular() && !f.IsGhost() {
			k := node{f.Device, f.Inode, f.SizeBytes, f.Digest}
			sets[k] = append(sets[k], i)
		}
	}
	for _, set := range sets {
		if len(set) < 2 {
			continue
		}
		links := make([]string, len(set))
		for i, j := range set {
			links[i] = files[j].Path
		}
		for _, j := range set {
			files[j].NLink, files[j].Links = len(set), links
		}
	}
}
