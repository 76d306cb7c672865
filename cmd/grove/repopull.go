// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"grove/internal/compose"
	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
)

// pullFlags are what the verbs that pull share.
type pullFlags struct {
	o               pull.Options
	headers         []string
	retries         int
	noSync, syncAll bool
	noDeltas        bool
	needDeltas      bool
	dryRun          bool
	trusted         bool
	frequencyMillis int
}

// localToo are the flags of pull that pull-local has too.
func (p *pullFlags) localToo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&p.o.CommitOnly, "commit-metadata-only", false, "only the commit objects and their signatures")
	f.IntVar(&p.o.Depth, "depth", 0, "how many parents of each commit; -1 = all")
	f.BoolVar(&p.noSync, "disable-fsync", false, "do not wait for the disk: a crash of the machine may damage what was pulled")
	f.BoolVar(&p.syncAll, "per-object-fsync", false, "bring each object to disk by itself, so that others need not wait for one long sync")
	f.BoolVar(&p.o.Untrusted, "untrusted", false, "check objects of repositories on this machine, too, and link none")
	f.BoolVar(&p.noDeltas, "disable-static-deltas", false, "bring objects only")
	f.BoolVar(&p.needDeltas, "require-static-deltas", false, "fail where no static delta leads to a commit")
	f.BoolVar(&p.o.UserOnlyFiles, "bareuseronly-files", false, "refuse files with modes beyond 0775 (setuid, world writable)")
	f.BoolVar(&p.o.AnyBinding, "disable-verify-bindings", false, "do not check which ref and collection a commit is bound to")
}

// overHTTP are the flags about the connection.
func (p *pullFlags) overHTTP(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.o.URL, "url", "", "pull from here instead of the remote's URL")
	f.StringArrayVar(&p.headers, "http-header", nil, "NAME=VALUE: a further header of each request")
	f.IntVar(&p.retries, "network-retries", 2, "how often each request is tried again")
	f.StringArrayVarP(&p.o.LocalCaches, "localcache-repo", "L", nil, "take objects from this repository where it has them")
	f.StringVar(&p.o.CacheDir, "cache-dir", "", "where summaries are kept")
	f.IntVar(&p.frequencyMillis, "update-frequency", 0, "milliseconds between two lines of progress")
}

// apply makes options of the flags, and the repository sync as they say.
func (p *pullFlags) apply(a *app, r *repo.Repo) (pull.Options, error) {
	o := p.o
	o.Offline = a.offline
	switch {
	case p.noDeltas && p.needDeltas:
		return o, usage("--disable-static-deltas or --require-static-deltas, not both")
	case p.dryRun && !p.needDeltas:
		return o, usage("--dry-run: say --require-static-deltas too; what objects would come is not known before they come")
	case p.noDeltas:
		o.Deltas = pull.DeltasNever
	case p.needDeltas:
		o.Deltas = pull.DeltasAlways
	}
	for _, h := range p.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return o, usage("--http-header %s: want NAME=VALUE", h)
		}
		o.Headers = append(o.Headers, [2]string{name, value})
	}
	if o.Retries = p.retries; p.retries <= 0 {
		o.Retries = -1
	}
	if o.Depth < -1 {
		return o, usage("--depth %d: want a number of parents, or -1 for all", o.Depth)
	}
	for _, s := range o.Subpaths {
		if !strings.HasPrefix(s, "/") {
			return o, usage("--subpath %s: want a path that begins with /", s)
		}
	}
	if p.noSync {
		r.SyncNothing()
	}
	if p.syncAll {
		r.SyncEachObject()
	}
	o.Progress = p.progress(a)
	return o, nil
}

func (p *pullFlags) progress(a *app) func(pull.Event) {
	show := a.progress()
	if show == nil {
		return nil
	}
	var last time.Time
	return func(e pull.Event) {
		if now := time.Now(); now.Sub(last) >= time.Duration(p.frequencyMillis)*time.Millisecond {
			last = now
			show(compose.Event{Step: "pull", Done: int64(e.Objects), Total: int64(e.Found), Detail: size(e.Bytes)})
		}
	}
}

// pullJSON is what a pull did.
type pullJSON struct {
	Commits        map[string]ostree.Checksum `json:"commits"` // by what was asked for
	ObjectsFetched int                        `json:"objects_fetched"`
	ObjectsCopied  int                        `json:"objects_copied"` // of these, from repositories on this machine
	BytesFetched   int64                      `json:"bytes_fetched"`  // as they came over the line
	DeltaParts     int                        `json:"delta_parts,omitempty"`
	VerifiedBy     []string                   `json:"verified_by"`
	EndOfLife      []endOfLifeJSON            `json:"end_of_life,omitempty"`
	Warnings       []string                   `json:"warnings,omitempty"`
}

type endOfLifeJSON struct {
	Ref    string `json:"ref"`
	Reason string `json:"reason,omitempty"`
	Rebase string `json:"rebase,omitempty"`
}

// showPull prints what a pull did, what it has to say about the commits to standard error.
func (a *app) showPull(res pull.Result) error {
	out := pullJSON{Commits: res.Commits, ObjectsFetched: res.ObjectsFetched, ObjectsCopied: res.ObjectsCopied, BytesFetched: res.BytesFetched, DeltaParts: res.DeltaParts, VerifiedBy: notNil(res.VerifiedBy), Warnings: res.Warnings}
	warnings := res.Warnings
	for _, e := range res.EndOfLife {
		out.EndOfLife = append(out.EndOfLife, endOfLifeJSON(e))
		text := e.Ref + " is at its end of life"
		if e.Reason != "" {
			text += ": " + e.Reason
		}
		if e.Rebase != "" {
			text += "; " + e.Rebase + " takes its place"
		}
		warnings = append(warnings, text)
	}
	a.warn(warnings)
	return a.show(out, func() {
		for _, name := range sortedKeys(res.Commits) {
			if c := res.Commits[name].String(); c != name {
				a.printf("%s %s\n", name, c)
			} else {
				a.printf("%s\n", c)
			}
		}
		line := fmt.Sprintf("%d objects fetched", res.ObjectsFetched)
		if res.ObjectsCopied > 0 {
			line += fmt.Sprintf(", %d of them from this machine", res.ObjectsCopied)
		}
		if res.DeltaParts > 0 {
			line += ", " + counted(res.DeltaParts, "part") + " of static deltas"
		}
		if res.BytesFetched > 0 {
			line += ", " + size(res.BytesFetched) + " transferred"
		}
		if len(res.VerifiedBy) > 0 {
			line += "; signed by " + strings.Join(res.VerifiedBy, ", ")
		}
		a.printf("%s\n", line)
	})
}

func (v *repoVerbs) pull() *cobra.Command {
	var p pullFlags
	cmd := verb("pull REMOTE [REF[@COMMIT]]... | REMOTE:REF", "bring commits from a remote", `
Without a REF: the remote's branches; with --mirror every ref that it has, and its summary as it is. A REF may also be a commit's checksum.
Commits are verified as the remote's settings say. What is here already is not fetched again, also after a break.

    grove repo pull --repo=srv up stable --depth=1
    grove repo pull --repo=srv --mirror up
    grove repo pull --repo=srv up stable --subpath=/usr/lib --subpath=/usr/share`, cobra.MinimumNArgs(1), func(cmd *cobra.Command, args []string) error {
		remote, refs := args[0], args[1:]
		if name, ref, ok := strings.Cut(remote, ":"); ok {
			if len(refs) > 0 {
				return usage("pull: REMOTE:REF or REMOTE REF..., not both")
			}
			remote, refs = name, []string{ref}
		}
		r, err := v.open()
		if err != nil {
			return err
		}
		o, err := p.apply(v.a, r)
		if err != nil {
			return err
		}
		if p.dryRun {
			plans, err := pull.PlanDeltas(cmd.Context(), r, remote, refs, o)
			if err != nil {
				return err
			}
			return v.a.showPlans(plans)
		}
		res, err := pull.Pull(cmd.Context(), r, remote, refs, o)
		if err != nil {
			return err
		}
		return v.a.showPull(res)
	})
	p.localToo(cmd)
	p.overHTTP(cmd)
	f := cmd.Flags()
	f.BoolVar(&p.dryRun, "dry-run", false, "with --require-static-deltas, only say what would come")
	f.BoolVar(&p.o.Mirror, "mirror", false, "set the refs as the repository's own; all refs where none is named")
	f.StringArrayVar(&p.o.Subpaths, "subpath", nil, "only this path of the trees; the commits are marked as partial")
	f.BoolVarP(&p.o.TimestampCheck, "timestamp-check", "T", false, "refuse a commit older than the one that the ref names now")
	f.StringVar(&p.o.TimestampFrom, "timestamp-check-from-rev", "", "refuse a commit older than this one")
	f.BoolVar(&p.trusted, "http-trusted", false, "taken for ostree's sake: what comes over HTTP is always checked")
	return cmd
}

func (v *repoVerbs) pullLocal() *cobra.Command {
	var p pullFlags
	var remote string
	cmd := verb("pull-local SRC [REF]...", "bring commits from a repository on this machine", "Without REF: every branch.", cobra.MinimumNArgs(1),
		func(cmd *cobra.Command, args []string) error {
			if (p.o.GPGVerify || p.o.GPGVerifySummary) && remote == "" {
				return usage("--gpg-verify: say --remote, for its keys")
			}
			r, err := v.open()
			if err != nil {
				return err
			}
			o, err := p.apply(v.a, r)
			if err != nil {
				return err
			}
			res, err := pull.Local(cmd.Context(), r, args[0], remote, args[1:], o)
			if err != nil {
				return err
			}
			return v.a.showPull(res)
		})
	p.localToo(cmd)
	f := cmd.Flags()
	f.StringVar(&remote, "remote", "", "set the refs as this remote's")
	f.BoolVar(&p.o.GPGVerify, "gpg-verify", false, "commits must be signed by a GPG key of --remote")
	f.BoolVar(&p.o.GPGVerifySummary, "gpg-verify-summary", false, "so must the summary of SRC")
	return cmd
}

func (a *app) pull() *cobra.Command {
	var p pullFlags
	var older bool
	cmd := verb("pull REMOTE:REF... | REMOTE [REF]...", "bring commits from a remote into the state root", `
Verified as the remote's settings say; what is there already is not fetched again. A commit older than the one that is here is
refused without --allow-downgrade. Without REF: the remote's branches.`, cobra.MinimumNArgs(1), func(cmd *cobra.Command, args []string) error {
		asked, err := pullArgs(args)
		if err != nil {
			return err
		}
		r, err := a.stateRepo()
		if err != nil {
			return err
		}
		o, err := p.apply(a, r)
		if err != nil {
			return err
		}
		o.TimestampCheck = !older
		all := pull.Result{Commits: map[string]ostree.Checksum{}}
		for _, q := range asked {
			res, err := pull.Pull(cmd.Context(), r, q.remote, q.refs, o)
			if err != nil {
				return err
			}
			all.Add(q.remote+":", res)
		}
		return a.showPull(all)
	})
	p.overHTTP(cmd)
	cmd.Flags().IntVar(&p.o.Depth, "depth", 0, "how many parents of each commit; -1 = all")
	cmd.Flags().BoolVar(&older, "allow-downgrade", false, "take a commit that is older than the one that is here")
	return cmd
}

// asking is what to pull from one remote.
type asking struct {
	remote string
	refs   []string
}

// pullArgs reads REMOTE:REF..., or REMOTE and its refs.
func pullArgs(args []string) ([]asking, error) {
	if !strings.Contains(args[0], ":") {
		return []asking{{args[0], args[1:]}}, nil
	}
	var all []asking
	for _, spec := range args {
		remote, ref, ok := strings.Cut(spec, ":")
		if !ok {
			return nil, usage("pull %s: say REMOTE:REF", spec)
		}
		if n := len(all); n > 0 && all[n-1].remote == remote {
			all[n-1].refs = append(all[n-1].refs, ref)
		} else {
			all = append(all, asking{remote, []string{ref}})
		}
	}
	return all, nil
}
