// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
)

// showFlags are those of `grove repo show`.
type showFlags struct {
	key, detachedKey, remote, home string
	raw                            bool
	parts                          showParts
}

func (v *repoVerbs) show() *cobra.Command {
	var o showFlags
	cmd := verb("show OBJECT", "a commit, its metadata and who signed it; or another object", `
OBJECT is a ref or the checksum of a commit, dirtree, dirmeta or file. Of a commit: everything that the object says, what
stands beside it, and its signatures, judged by the keys of the remote in REMOTE:REF or of --gpg-verify-remote, else by all keys that the
remotes and the host have. The exit code says nothing about them: repo sign --verify and pulls do.`, cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		if o.parts.variantType != "" {
			return o.parts.file(v.a.stdout, args[0])
		}
		r, err := v.open()
		if err != nil {
			return err
		}
		c, err := r.Resolve(args[0])
		if err != nil {
			return err
		}
		if !r.Has(ostree.TypeCommit, c) && o.key+o.detachedKey == "" {
			return v.showObject(r, c, o.raw)
		}
		commit, err := r.Commit(c)
		if err != nil {
			return err
		}
		detached, err := r.Detached(c)
		if err != nil {
			return err
		}
		switch {
		case o.key != "":
			return v.printKey(commit.Metadata, o.key, o.parts)
		case o.detachedKey != "":
			return v.printKey(detached, o.detachedKey, o.parts)
		}
		if done, err := o.parts.print(v.a.stdout, r, commit, detached); done || err != nil {
			return err
		}
		data := commit.Encode()
		policy, err := v.policyFor(cmd, r, args[0], o.remote, o.home)
		if err != nil {
			return err
		}
		marks := policy.Examine(data, detached)
		out := commitJSON(c, commit, detached)
		out.Signatures = signatureViews(marks)
		return v.a.show(out, func() {
			w := v.a.stdout
			if o.raw {
				printRaw(w, c, commit)
			} else {
				printCommit(w, c, commit)
				for _, e := range commit.Metadata {
					fmt.Fprintf(w, "    %s: %s\n", e.Key, clip(e.Value))
				}
				for _, e := range detached {
					if e.Key != ostree.KeyGPGSigs && e.Key != ostree.KeySignEd25519 { // which are shown below
						fmt.Fprintf(w, "    (beside it) %s: %s\n", e.Key, clip(e.Value))
					}
				}
			}
			if len(marks) > 0 {
				fmt.Fprint(w, signaturesText(marks))
			}
		})
	})
	f := cmd.Flags()
	f.StringVar(&o.key, "print-metadata-key", "", "print the value of a key of the commit's metadata")
	f.StringVar(&o.detachedKey, "print-detached-metadata-key", "", "print the value of a key beside the commit")
	f.StringVar(&o.remote, "gpg-verify-remote", "", "judge the signatures by this remote's keys")
	f.StringVar(&o.home, "gpg-homedir", "", "judge the signatures by the keys of this GnuPG home")
	f.BoolVar(&o.raw, "raw", false, "show the object as a value in GVariant's text form")
	o.parts.add(f)
	return cmd
}

func (v *repoVerbs) printKey(d gvariant.Dict, key string, p showParts) error {
	value, ok := d.Lookup(key)
	if !ok {
		return fmt.Errorf("show: there is no metadata key %q", key)
	}
	p.value(v.a.stdout, value)
	return nil
}

// showObject shows what is no commit, as ostree does.
func (v *repoVerbs) showObject(r *repo.Repo, c ostree.Checksum, raw bool) error {
	w := v.a.stdout
	for _, k := range []struct {
		t    ostree.ObjectType
		kind string
	}{{ostree.TypeDirMeta, "(uuua(ayay))"}, {ostree.TypeDirTree, "(a(say)a(sayay))"}} {
		if !r.Has(k.t, c) {
			continue
		}
		data, err := r.Metadata(k.t, c)
		if err != nil {
			return err
		}
		value, err := gvariant.Decode(k.kind, data)
		if err != nil {
			return err
		}
		if !raw {
			fmt.Fprintf(w, "%s %s\n", k.t, c)
		}
		fmt.Fprintln(w, value.ByteSwap())
		return nil
	}
	h, size, err := r.FileHeader(c)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "Object: %s\nType: file\n", c)
	if h.IsSymlink() {
		fmt.Fprintf(w, "File Type: symlink\nTarget: %s\n", h.Symlink)
	} else {
		fmt.Fprintf(w, "File Type: regular\nSize: %d\n", size)
	}
	fmt.Fprintf(w, "Mode: 0%04o\nUid: %d\nGid: %d\nExtended Attributes: ", h.Mode, h.UID, h.GID)
	if len(h.Xattrs) == 0 {
		fmt.Fprintln(w, "None")
		return nil
	}
	value, err := gvariant.Decode("a(ayay)", ostree.EncodeXattrs(h.Xattrs))
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "{ %s }\n", value)
	return nil
}

// maxPrinted bounds one value of metadata on the screen: package lists have hundreds of kilobytes.
const maxPrinted = 2000

func clip(v gvariant.Value) string {
	s := v.Text(false)
	if len(s) > maxPrinted {
		return s[:maxPrinted] + fmt.Sprintf("... (%d bytes)", len(s))
	}
	return s
}

// showJSON is a commit as --json shows it.
type showJSON struct {
	Commit     string            `json:"commit"`
	Parent     string            `json:"parent,omitempty"`
	Tree       string            `json:"tree"`
	Meta       string            `json:"meta"`
	Timestamp  uint64            `json:"timestamp"` // seconds since 1970
	Version    string            `json:"version,omitempty"`
	Subject    string            `json:"subject,omitempty"`
	Body       string            `json:"body,omitempty"`
	Metadata   map[string]string `json:"metadata"`           // values in GVariant's text form
	Detached   map[string]string `json:"detached,omitempty"` // likewise
	Signatures []signatureJSON   `json:"signatures"`
}

func commitJSON(c ostree.Checksum, commit ostree.Commit, detached gvariant.Dict) showJSON {
	out := showJSON{Commit: c.String(), Tree: commit.Tree.String(), Meta: commit.Meta.String(), Timestamp: commit.Timestamp,
		Version: commit.Version(), Subject: commit.Subject, Body: commit.Body, Metadata: map[string]string{}}
	if !commit.Parent.IsZero() {
		out.Parent = commit.Parent.String()
	}
	for _, e := range commit.Metadata {
		out.Metadata[e.Key] = e.Value.String()
	}
	for _, e := range detached {
		if out.Detached == nil {
			out.Detached = map[string]string{}
		}
		out.Detached[e.Key] = e.Value.String()
	}
	return out
}

func printCommit(w io.Writer, c ostree.Checksum, commit ostree.Commit) {
	fmt.Fprintf(w, "commit %s\n", c)
	if !commit.Parent.IsZero() {
		fmt.Fprintf(w, "Parent:  %s\n", commit.Parent)
	}
	content := sha256.Sum256(append(append([]byte{}, commit.Tree[:]...), commit.Meta[:]...))
	fmt.Fprintf(w, "ContentChecksum:  %x\n", content)
	fmt.Fprintf(w, "Date:  %s\n", time.Unix(int64(commit.Timestamp), 0).UTC().Format("2006-01-02 15:04:05 -0700"))
	if ver, ok := commit.Metadata.Lookup("version"); ok {
		fmt.Fprintf(w, "Version: %s\n", ver.Str())
	}
	if commit.Subject == "" {
		fmt.Fprintln(w, "(no subject)")
	} else {
		printIndented(w, commit.Subject)
	}
	if commit.Body != "" {
		printIndented(w, commit.Body)
	}
	fmt.Fprintln(w)
}

// printIndented prints an empty line and a text, four columns in.
func printIndented(w io.Writer, text string) {
	fmt.Fprintln(w)
	for line := range strings.Lines(text) {
		fmt.Fprintf(w, "    %s\n", strings.TrimSuffix(line, "\n"))
	}
}
