// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/pflag"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
)

// showParts are the options of `grove repo show` that show one part of a commit, named as ostree names them.
type showParts struct {
	keys, detachedKeys, related, sizes, hex, unswapped bool
	variantType                                        string
}

func (p *showParts) add(f *pflag.FlagSet) {
	f.BoolVar(&p.keys, "list-metadata-keys", false, "list the keys of the commit's metadata")
	f.BoolVar(&p.detachedKeys, "list-detached-metadata-keys", false, "list the keys of what stands beside the commit")
	f.BoolVar(&p.related, "print-related", false, "list the related commits")
	f.BoolVar(&p.sizes, "print-sizes", false, "say how large the commit's objects are, as far as it says so")
	f.BoolVar(&p.hex, "print-hex", false, "with --print-metadata-key: bytes as hexadecimal digits")
	f.BoolVarP(&p.unswapped, "no-byteswap", "B", false, "show numbers as they are stored, with types")
	f.StringVar(&p.variantType, "print-variant-type", "", "OBJECT is a file; show it as a value of this GVariant type")
}

// print shows the part that was asked for; false if none was.
func (p *showParts) print(w io.Writer, r *repo.Repo, commit ostree.Commit, detached gvariant.Dict) (bool, error) {
	switch {
	case p.keys:
		printKeys(w, commit.Metadata)
	case p.detachedKeys:
		printKeys(w, detached)
	case p.related:
		for _, rel := range commit.Related {
			fmt.Fprintf(w, "%s %s\n", rel.Name, rel.Checksum)
		}
	case p.sizes:
		return true, printSizes(w, r, commit)
	default:
		return false, nil
	}
	return true, nil
}

func printKeys(w io.Writer, d gvariant.Dict) {
	keys := make([]string, len(d))
	for i, e := range d {
		keys[i] = e.Key
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintln(w, k)
	}
}

// value shows one value of metadata.
func (p *showParts) value(w io.Writer, v gvariant.Value) {
	switch {
	case p.hex && v.Type() == "ay":
		fmt.Fprintf(w, "%x\n", v.Bytes())
	case p.unswapped:
		fmt.Fprintln(w, v)
	default:
		fmt.Fprintln(w, v.ByteSwap())
	}
}

func printSizes(w io.Writer, r *repo.Repo, commit ostree.Commit) error {
	list, ok, err := commit.Sizes()
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("show --print-sizes: the commit says nothing of sizes")
	}
	var all, missing struct {
		archived, unpacked uint64
		n                  int
	}
	for _, s := range list {
		all.archived, all.unpacked, all.n = all.archived+s.ArchivedBytes, all.unpacked+s.UnpackedBytes, all.n+1
		if !r.Has(s.Type, s.Checksum) {
			missing.archived, missing.unpacked, missing.n = missing.archived+s.ArchivedBytes, missing.unpacked+s.UnpackedBytes, missing.n+1
		}
	}
	_, err = fmt.Fprintf(w, "Compressed size (needed/total): %s/%s\nUnpacked size (needed/total): %s/%s\nNumber of objects (needed/total): %d/%d\n",
		decimalSize(int64(missing.archived)), decimalSize(int64(all.archived)), decimalSize(int64(missing.unpacked)), decimalSize(int64(all.unpacked)),
		missing.n, all.n)
	return err
}

// file shows a file as a value of --print-variant-type.
func (p *showParts) file(w io.Writer, name string) error {
	fi, err := os.Stat(name)
	if err != nil {
		return err
	}
	if fi.Size() > ostree.MaxMetadataSizeBytes {
		return fmt.Errorf("show %s: %d bytes, at most %d allowed", name, fi.Size(), ostree.MaxMetadataSizeBytes)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	v, err := gvariant.Decode(p.variantType, data)
	if err != nil {
		return fmt.Errorf("show %s: %w", name, err)
	}
	p.value(w, v)
	return nil
}
