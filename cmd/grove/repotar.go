// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"grove/internal/repo"
)

func (v *repoVerbs) export() *cobra.Command {
	var o repo.ExportOptions
	var output string
	cmd := verb("export [-o FILE] COMMIT", "write a commit's tree as a tar archive", `
The same commit gives the same bytes. repo commit --tree=tar=FILE makes the same tree of it again.`, cobra.ExactArgs(1),
		func(cmd *cobra.Command, args []string) (err error) {
			r, err := v.open()
			if err != nil {
				return err
			}
			sum, err := r.Resolve(args[0])
			if err != nil {
				return err
			}
			var w io.Writer = v.a.stdout
			if output != "" && output != "-" {
				return exportTo(output, func(w io.Writer) error { return r.ExportTar(cmd.Context(), w, sum, o) })
			}
			return r.ExportTar(cmd.Context(), w, sum, o)
		})
	f := cmd.Flags()
	f.StringVarP(&output, "output", "o", "", "a file instead of standard output; one that is there is overwritten")
	f.StringVar(&o.Subpath, "subpath", "", "only this directory of the tree")
	f.StringVar(&o.Prefix, "prefix", "", "put before every name")
	f.BoolVar(&o.NoXattrs, "no-xattrs", false, "leave extended attributes out")
	return cmd
}

func (v *repoVerbs) reset() *cobra.Command {
	return verb("reset REF COMMIT", "make a ref name another commit", "COMMIT is a checksum, another ref, or REF^ for its parent.", cobra.ExactArgs(2),
		func(_ *cobra.Command, args []string) error {
			r, err := v.open()
			if err != nil {
				return err
			}
			if _, err := r.Resolve(args[0]); err != nil {
				return err
			}
			sum, err := r.Resolve(args[1])
			if err != nil {
				return err
			}
			if _, err := r.Commit(sum); err != nil {
				return err
			}
			return r.SetRef(args[0], sum)
		})
}

// exportTo has a file written. Half a file is not left behind; devices and pipes are.
func exportTo(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	err = write(f)
	fi, serr := f.Stat()
	if err = errors.Join(err, f.Close()); err != nil && serr == nil && fi.Mode().IsRegular() {
		_ = os.Remove(name)
	}
	return err
}
