// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"grove/internal/compose"
	"grove/internal/delta"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/trust"
)

// staticDelta is the group of verbs about static deltas.
func (v *repoVerbs) staticDelta() *cobra.Command {
	cmd := &cobra.Command{Use: "static-delta", Aliases: []string{"delta"}, Short: "static deltas: what leads from one commit to another, as files", Args: groupArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("say a verb; grove repo static-delta --help lists them")
		}}
	cmd.AddCommand(v.deltaGenerate(), v.deltaList(), v.deltaShow(), v.deltaDelete(), v.deltaApply(), v.deltaVerify(), v.deltaIndexes(), v.deltaReindex())
	return cmd
}

// deltaFlags are those of generate.
type deltaFlags struct {
	from, to, endian               string
	empty, swap, ifNotExists       bool
	minFallback, maxBsdiff, maxPar int64
	o                              delta.GenerateOptions
	sign                           trust.Keys
}

const megabyte = 1000 * 1000

func (v *repoVerbs) deltaGenerate() *cobra.Command {
	var d deltaFlags
	cmd := verb("generate [--from=REV|--empty] [TO]", "make a delta", `
Without --from and --empty it begins at the parent of TO. Pulls find it once the summary is written (grove repo summary -u) or the
indexes are (grove repo static-delta reindex). With --inline and --filename it is one file, to be carried and applied without a network.

    grove repo static-delta generate --repo=srv stable
    grove repo static-delta generate --repo=srv --empty --inline --min-fallback-size=0 --filename=stable.delta stable`, cobra.MaximumNArgs(1),
		func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if d.to != "" {
					return usage("static-delta generate: --to and %s name two commits", args[0])
				}
				d.to = args[0]
			}
			return v.generateDelta(cmd, d)
		})
	f := cmd.Flags()
	f.StringVar(&d.from, "from", "", "the commit that it begins at")
	f.BoolVar(&d.empty, "empty", false, "it begins at nothing")
	f.StringVar(&d.to, "to", "", "the commit that it leads to")
	f.BoolVar(&d.o.Inline, "inline", false, "everything into one file")
	f.BoolVar(&d.o.DisableBsdiff, "disable-bsdiff", false, "make no binary differences: faster and larger")
	f.BoolVarP(&d.ifNotExists, "if-not-exists", "n", false, "do nothing if there is such a delta")
	f.StringVar(&d.endian, "set-endianness", "l", "the byte order of its numbers: l or B")
	f.BoolVar(&d.swap, "swap-endianness", false, "the other byte order")
	f.Int64Var(&d.minFallback, "min-fallback-size", 4, "MB from which on files are left to be fetched by themselves; 0 = never")
	f.Int64Var(&d.maxBsdiff, "max-bsdiff-size", 128, "MB of old and new file together, up to which a binary difference is made")
	f.Int64Var(&d.maxPar, "max-chunk-size", 32, "MB of a part, before it is compressed")
	f.Int64Var(&d.maxPar, "max-usize", 32, "another name for --max-chunk-size")
	f.StringVar(&d.o.Filename, "filename", "", "write the superblock to this file and parts beside it, not into the repository")
	f.StringArrayVar(&d.sign.Sign, "sign", nil, "sign it with this ed25519 secret key, in base64 (seen by others in the list of processes)")
	f.StringArrayVar(&d.sign.Files, "keys-file", nil, "sign it with the ed25519 secret keys in this file")
	f.StringVar(&d.sign.Type, "sign-type", "", "the type of signature (default ed25519)")
	return cmd
}

// options makes of the flags what generating wants.
func (d *deltaFlags) options(a *app) (delta.GenerateOptions, error) {
	o := d.o
	switch d.endian {
	case "l", "B":
		o.Order = delta.ByteOrder(d.endian[0])
	default:
		return o, usage("--set-endianness=%s: want l or B", d.endian)
	}
	if d.swap {
		o.Order = delta.LittleEndian + delta.BigEndian - o.Order
	}
	for _, n := range []int64{d.minFallback, d.maxBsdiff, d.maxPar} {
		if n < 0 || n > 1<<20 {
			return o, usage("static-delta generate: a size of %d MB", n)
		}
	}
	o.MinFallbackBytes, o.MaxBsdiffBytes, o.MaxPartBytes = d.minFallback*megabyte, d.maxBsdiff*megabyte, max(d.maxPar*megabyte, 1)
	if d.minFallback == 0 {
		o.MinFallbackBytes = -1
	}
	if d.maxBsdiff == 0 {
		o.DisableBsdiff = true
	}
	if d.sign.Type != "" && d.sign.Type != trust.Ed25519 {
		return o, usage("--sign-type=%s: deltas are signed by %s only", d.sign.Type, trust.Ed25519)
	}
	if show := a.progress(); show != nil {
		o.Progress = func(done, total int) { show(compose.Event{Step: "delta", Done: int64(done), Total: int64(total)}) }
	}
	var err error
	o.Signers, err = d.sign.Signers()
	return o, err
}

// name resolves what the delta leads from and to.
func (d *deltaFlags) name(r *repo.Repo) (n ostree.DeltaName, err error) {
	if d.to == "" {
		return n, usage("static-delta generate: say the commit that it leads to")
	}
	if d.empty && d.from != "" {
		return n, usage("static-delta generate: --empty or --from=%s, not both", d.from)
	}
	if n.To, err = r.Resolve(d.to); err != nil || d.empty {
		return n, err
	}
	from := d.from
	if from == "" {
		from = d.to + "^"
	}
	n.From, err = r.Resolve(from)
	return n, err
}

type deltaStatsJSON struct {
	Delta   string          `json:"delta"`
	From    ostree.Checksum `json:"from"`
	To      ostree.Checksum `json:"to"`
	Existed bool            `json:"existed,omitempty"`
	Parts   int             `json:"parts"`
	Size    uint64          `json:"size"`  // of the parts
	Usize   uint64          `json:"usize"` // of what they make
	Objects map[string]int  `json:"objects,omitempty"`
}

func (v *repoVerbs) generateDelta(cmd *cobra.Command, d deltaFlags) error {
	r, err := v.open()
	if err != nil {
		return err
	}
	n, err := d.name(r)
	if err != nil {
		return err
	}
	o, err := d.options(v.a)
	if err != nil {
		return err
	}
	out := deltaStatsJSON{Delta: n.String(), From: n.From, To: n.To}
	if d.ifNotExists && o.Filename == "" && r.HasDelta(n) {
		out.Existed = true
		return v.a.show(out, func() { v.a.printf("Delta %s already exists.\n", n) })
	}
	s, err := delta.Generate(cmd.Context(), r, n, o)
	if err != nil {
		return err
	}
	out.Parts, out.Size, out.Usize = s.Parts, s.SizeBytes, s.UsizeBytes
	out.Objects = map[string]int{"metadata": s.Metadata, "whole": s.Whole, "rollsum": s.Chunks, "bsdiff": s.Bsdiff, "fallback": s.Fallbacks}
	return v.a.show(out, func() {
		from := n.From.String()
		if n.From.IsZero() {
			from = "empty"
		}
		v.a.printf("From: %s\nTo:   %s\n", from, n.To)
		v.a.printf("%s, %s, of which come %s: %d metadata objects, %d files whole, %d of pieces, %d of binary differences, %d left to be fetched\n",
			counted(s.Parts, "part"), size(int64(s.SizeBytes)), size(int64(s.UsizeBytes)), s.Metadata, s.Whole, s.Chunks, s.Bsdiff, s.Fallbacks)
	})
}

func (v *repoVerbs) deltaList() *cobra.Command {
	return verb("list", "the deltas of the repository", "By name: FROM-TO, or TO for one that begins at nothing.", cobra.NoArgs, func(*cobra.Command, []string) error {
		r, err := v.open()
		if err != nil {
			return err
		}
		names, err := r.Deltas()
		if err != nil {
			return err
		}
		return showLines(v.a, names, "(No static deltas)")
	})
}

func (v *repoVerbs) deltaIndexes() *cobra.Command {
	return verb("indexes", "the commits that an index of deltas is there for", "", cobra.NoArgs, func(*cobra.Command, []string) error {
		r, err := v.open()
		if err != nil {
			return err
		}
		list, err := r.DeltaIndexes()
		if err != nil {
			return err
		}
		return showLines(v.a, list, "(No static deltas indexes)")
	})
}

// showLines prints a list, one a line, or a word where it is empty; as JSON a list of strings.
func showLines[T fmt.Stringer](a *app, list []T, none string) error {
	lines := []string{}
	for _, e := range list {
		lines = append(lines, e.String())
	}
	return a.show(lines, func() {
		if len(lines) == 0 {
			lines = []string{none}
		}
		a.printf("%s\n", strings.Join(lines, "\n"))
	})
}

func (v *repoVerbs) deltaReindex() *cobra.Command {
	var to string
	cmd := verb("reindex [--to=REV]", "write the indexes of deltas anew", "Clients find deltas by them where the summary does not list any. Writing the summary does this too.", cobra.NoArgs,
		func(cmd *cobra.Command, _ []string) error {
			r, err := v.open()
			if err != nil {
				return err
			}
			if to == "" {
				return r.ReindexDeltas(cmd.Context(), nil)
			}
			c, err := r.Resolve(to)
			if err != nil {
				return err
			}
			return r.ReindexDeltas(cmd.Context(), &c)
		})
	cmd.Flags().StringVar(&to, "to", "", "only the index of this commit")
	return cmd
}

func (v *repoVerbs) deltaDelete() *cobra.Command {
	return verb("delete DELTA", "delete a delta", "DELTA is a name as list shows it. Write the summary or the indexes anew afterwards.", cobra.ExactArgs(1),
		func(cmd *cobra.Command, args []string) error {
			n, err := ostree.ParseDeltaName(args[0])
			if err != nil {
				return usage("%v", err)
			}
			r, err := v.open()
			if err != nil {
				return err
			}
			return r.DeleteDelta(cmd.Context(), n)
		})
}

// openDelta opens a delta by name or, with a slash, by path.
func openDelta(r *repo.Repo, arg string) (*delta.File, error) {
	if strings.Contains(arg, "/") {
		return delta.Open(arg)
	}
	n, err := ostree.ParseDeltaName(arg)
	if err != nil {
		return nil, usage("%v; a file is told by a slash in its path", err)
	}
	return delta.OpenIn(r, n)
}

// edPolicy is what signatures are held against: the keys on the command line, of a file, or the host's.
func edPolicy(keys []string, file, dir string) (trust.Policy, error) {
	policy, err := trust.Ed25519FromKeys(keys...)
	if err == nil && file != "" {
		var more trust.Policy
		if more, err = trust.Ed25519FromFile(file); err == nil {
			policy = policy.Merge(more)
		}
	}
	if err == nil && len(keys) == 0 && file == "" {
		var dirs []string
		if dir != "" {
			dirs = []string{dir}
		}
		policy, err = trust.Ed25519FromDirs(dirs...)
	}
	return policy, err
}

// deltaKeys are the options about public keys.
type deltaKeys struct{ kind, file, dir string }

func (k *deltaKeys) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&k.kind, "sign-type", trust.Ed25519, "the type of signature")
	f.StringVar(&k.file, "keys-file", "", "read public keys from this file")
	f.StringVar(&k.dir, "keys-dir", "", "where trusted.ed25519 and revoked.ed25519 lie, instead of the host's folders")
}

// open opens the repository, and gives what signatures are held against.
func (k *deltaKeys) open(v *repoVerbs, keys []string) (*repo.Repo, trust.Policy, error) {
	if k.kind != trust.Ed25519 {
		return nil, trust.Policy{}, usage("--sign-type=%s: deltas are signed by %s only", k.kind, trust.Ed25519)
	}
	r, err := v.open()
	if err != nil {
		return nil, trust.Policy{}, err
	}
	policy, err := edPolicy(keys, k.file, k.dir)
	return r, policy, err
}

func (v *repoVerbs) deltaApply() *cobra.Command {
	var k deltaKeys
	cmd := verb("apply-offline PATH [KEY-ID...]", "apply a delta from a file or folder", `
PATH is a superblock, its parts inside or beside it, or a folder with one. What it makes is checked; nothing is there until all is. A
signed delta must be signed by a KEY-ID (an ed25519 public key in base64), a key of --keys-file or one that the host trusts; one that
is not signed is refused where core.sign-verify-deltas is true. No ref is set: grove repo refs --create does that.`, cobra.MinimumNArgs(1),
		func(cmd *cobra.Command, args []string) error {
			r, policy, err := k.open(v, args[1:])
			if err != nil {
				return err
			}
			policy.Sign = len(policy.Ed25519Keys()) > 0
			c, err := delta.Apply(cmd.Context(), r, args[0], delta.ApplyOptions{Policy: policy})
			if err != nil {
				return err
			}
			return v.a.show(map[string]ostree.Checksum{"commit": c}, func() { v.a.printf("%s\n", c) })
		})
	k.flags(cmd)
	return cmd
}

func (v *repoVerbs) deltaVerify() *cobra.Command {
	var k deltaKeys
	cmd := verb("verify DELTA [KEY-ID...]", "verify the signature of a delta", `
DELTA is a name as list shows it, or the path, with a slash, of a superblock. KEY-ID is an ed25519 public key in base64; without one,
and without --keys-file, the keys that the host trusts count. Exit code 4 where none of them signed it.`, cobra.MinimumNArgs(1),
		func(cmd *cobra.Command, args []string) error {
			r, policy, err := k.open(v, args[1:])
			if err != nil {
				return err
			}
			d, err := openDelta(r, args[0])
			if err != nil {
				return err
			}
			defer d.Close()
			policy.Sign = true
			marks, err := d.Verify(policy)
			if err != nil {
				return err
			}
			for _, m := range marks {
				v.a.printf("Verification OK: %s\n", m)
			}
			return nil
		})
	k.flags(cmd)
	return cmd
}
