// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"grove/internal/gvariant"
	"grove/internal/ostree"
	"grove/internal/repo"
	"grove/internal/trust"
)

// summaryFlags are those of `grove repo summary`.
type summaryFlags struct {
	update, view, raw, listKeys bool
	printKey, expires           string
	add                         []string
	signing                     signFlags
}

func (v *repoVerbs) summary() *cobra.Command {
	var o summaryFlags
	cmd := verb("summary -u|--view|--list-metadata-keys|--print-metadata-key=KEY", "write, sign or show the summary", `
The summary is what clients read the list of refs from. Its time is that of the newest commit in it, or SOURCE_DATE_EPOCH where
that is set. Where the repository has a collection id, -u also commits what is added to the branch ostree-metadata.

    grove repo summary -u --gpg-sign=/root/repo-key.gpg
    grove repo summary -u -m 'title="My trees"'`, cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		r, err := v.open()
		if err != nil {
			return err
		}
		if o.update {
			return v.updateSummary(cmd.Context(), r, &o)
		}
		if !o.view && !o.part() {
			return usage("summary: say --update or --view")
		}
		s, data, err := r.ReadSummary()
		if err != nil {
			return err
		}
		if o.part() {
			return v.a.showSummaryPart(s, data, o)
		}
		sigs, err := r.SummarySignatures()
		if err != nil {
			return err
		}
		policy, err := r.AnyPolicy()
		if err != nil {
			return err
		}
		return v.a.viewSummary(s, policy.Examine(data, sigs))
	})
	f := cmd.Flags()
	f.BoolVarP(&o.update, "update", "u", false, "write it anew")
	f.BoolVarP(&o.view, "view", "v", false, "show it")
	o.partFlags(cmd)
	f.StringArrayVarP(&o.add, "add-metadata", "m", nil, "KEY=VALUE for its metadata; VALUE in GVariant's text form, such as '\"text\"' or 'uint32 7'")
	f.StringVar(&o.expires, "expires", "", "when clients shall no longer trust it: a date, @SECONDS, or a duration from now such as 72h")
	o.signing.add(f, "it")
	return cmd
}

// partFlags are those that show a summary other than as a whole.
func (o *summaryFlags) partFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.raw, "raw", false, "show it as a value in GVariant's text form")
	f.BoolVar(&o.listKeys, "list-metadata-keys", false, "list the keys of its metadata")
	f.StringVar(&o.printKey, "print-metadata-key", "", "print the value of a key of its metadata")
}

func (o *summaryFlags) part() bool { return o.raw || o.listKeys || o.printKey != "" }

func (a *app) showSummaryPart(s ostree.Summary, data []byte, o summaryFlags) error {
	switch {
	case o.raw:
		value, err := gvariant.Decode("(a(s(taya{sv}))a{sv})", data)
		if err != nil {
			return err
		}
		fmt.Fprintln(a.stdout, value.ByteSwap())
		return nil
	case o.listKeys:
		var keys []string
		for _, e := range s.Metadata {
			keys = append(keys, e.Key)
		}
		slices.Sort(keys)
		return a.show(keys, func() { fmt.Fprintln(a.stdout, strings.Join(keys, "\n")) })
	}
	value, ok := s.Metadata.Lookup(o.printKey)
	if !ok {
		return fmt.Errorf("summary: it has no key %q", o.printKey)
	}
	fmt.Fprintln(a.stdout, value.ByteSwap())
	return nil
}

func (v *repoVerbs) updateSummary(ctx context.Context, r *repo.Repo, o *summaryFlags) error {
	var so repo.SummaryOptions
	var err error
	if so.Signers, err = o.signing.signers(v.a); err != nil {
		return err
	}
	if so.TimestampSec, _, err = v.a.sourceDateEpoch(); err != nil {
		return err
	}
	if so.Add, err = metaValues("--add-metadata", o.add); err != nil {
		return err
	}
	if o.expires != "" {
		at, err := v.expiry(o.expires)
		if err != nil {
			return err
		}
		so.Add = so.Add.With(ostree.SummaryExpires, ostree.TimeValue(at))
	}
	commit := so
	if commit.TimestampSec, err = v.a.now(); err != nil {
		return err
	}
	if err := r.CommitSummaryMetadata(ctx, commit); err != nil {
		return err
	}
	return r.UpdateSummary(ctx, so)
}

// expiry reads --expires.
func (v *repoVerbs) expiry(s string) (uint64, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return parseTimestamp(s)
	}
	now, err := v.a.now()
	if err != nil || d < 0 {
		return 0, usage("--expires=%s: want a time that is still to come", s)
	}
	return now + uint64(d/time.Second), nil
}

// metaValues reads the KEY=VALUE of an option whose values are in GVariant's text form.
func metaValues(option string, list []string) (gvariant.Dict, error) {
	var d gvariant.Dict
	for _, m := range list {
		k, text, ok := strings.Cut(m, "=")
		if !ok || k == "" {
			return nil, usage("%s %q: want KEY=VALUE", option, m)
		}
		value, err := gvariant.Parse(text)
		if err != nil {
			return nil, usage("%s %s: %v (a text needs quotes of its own: %s='\"%s\"')", option, k, err, k, text)
		}
		d = append(d, gvariant.Entry{Key: k, Value: value})
	}
	return d, nil
}

// summaryJSON is a summary as --json shows it.
type summaryJSON struct {
	Refs        []summaryRefJSON            `json:"refs"`
	Collections map[string][]summaryRefJSON `json:"collections,omitempty"`
	Metadata    map[string]string           `json:"metadata"` // values in GVariant's text form
	Signatures  []signatureJSON             `json:"signatures"`
}

type summaryRefJSON struct {
	Ref       string `json:"ref"`
	Commit    string `json:"commit"`
	Size      uint64 `json:"size"` // of the commit object
	Timestamp uint64 `json:"timestamp,omitempty"`
	Version   string `json:"version,omitempty"`
}

func summaryRefs(refs []ostree.SummaryRef) []summaryRefJSON {
	out := []summaryRefJSON{}
	for _, ref := range refs {
		j := summaryRefJSON{Ref: ref.Name, Commit: ref.Commit.String(), Size: ref.SizeBytes}
		if at, ok := ref.Metadata.Lookup(ostree.RefCommitTimestamp); ok {
			j.Timestamp, _ = ostree.TimeFrom(at)
		}
		j.Version, _ = ref.Metadata.Str(ostree.RefCommitVersion)
		out = append(out, j)
	}
	return out
}

// viewSummary shows a summary and what its signatures are worth.
func (a *app) viewSummary(s ostree.Summary, marks []trust.Mark) error {
	others, err := ostree.CollectionMap(s.Metadata)
	if err != nil {
		return err
	}
	out := summaryJSON{Refs: summaryRefs(s.Refs), Metadata: map[string]string{}, Signatures: signatureViews(marks)}
	for id, refs := range others {
		if out.Collections == nil {
			out.Collections = map[string][]summaryRefJSON{}
		}
		out.Collections[id] = summaryRefs(refs)
	}
	for _, e := range s.Metadata {
		out.Metadata[e.Key] = e.Value.ByteSwap().String()
	}
	return a.show(out, func() {
		w := a.stdout
		mine, _ := s.Metadata.Str(ostree.SummaryCollectionID)
		printSummaryRefs(w, mine, s.Refs)
		for _, id := range slices.Sorted(maps.Keys(others)) {
			printSummaryRefs(w, id, others[id])
		}
		for _, e := range s.Metadata {
			printSummaryKey(w, e)
		}
		if len(marks) > 0 {
			fmt.Fprintf(w, "\n%s", signaturesText(marks))
		}
	})
}

// printSummaryRefs prints as `ostree summary --view` does.
func printSummaryRefs(w io.Writer, collection string, refs []ostree.SummaryRef) {
	for _, ref := range refs {
		name := ref.Name
		if collection != "" {
			name = "(" + collection + ", " + name + ")"
		}
		fmt.Fprintf(w, "* %s\n    Latest Commit (%s):\n      %s\n", name, metricSize(ref.SizeBytes), ref.Commit)
		for _, e := range ref.Metadata {
			switch at, isTime := ostree.TimeFrom(e.Value); {
			case e.Key == ostree.RefCommitTimestamp && isTime:
				fmt.Fprintf(w, "    Timestamp (%s): %s\n", e.Key, isoTime(at))
			case e.Key == ostree.RefCommitVersion:
				fmt.Fprintf(w, "    Version (%s): %s\n", e.Key, e.Value.Str())
			default:
				fmt.Fprintf(w, "    %s: %s\n", e.Key, e.Value.Text(false))
			}
		}
		fmt.Fprintln(w)
	}
}

func printSummaryKey(w io.Writer, e gvariant.Entry) {
	at, isTime := ostree.TimeFrom(e.Value)
	name, text := "", e.Value.Text(false)
	switch e.Key {
	case ostree.SummaryDeltas:
		name = "Static Deltas"
	case ostree.SummaryLastModified, ostree.SummaryExpires:
		if name = "Last-Modified"; e.Key == ostree.SummaryExpires {
			name = "Expires"
		}
		if isTime {
			text = isoTime(at)
		}
	case ostree.SummaryCollectionID:
		name, text = "Collection ID", e.Value.Str()
	case ostree.SummaryCollectionMap:
		name, text = "Collection Map", "(printed above)"
	case ostree.SummaryMode:
		name, text = "Repository Mode", e.Value.Str()
	case ostree.SummaryTombstones:
		if name, text = "Has Tombstone Commits", "No"; e.Value.Bool() {
			text = "Yes"
		}
	}
	if name != "" {
		name, text = name+" ("+e.Key+")", strings.TrimSpace(text)
		fmt.Fprintf(w, "%s: %s\n", name, text)
		return
	}
	fmt.Fprintf(w, "%s: %s\n", e.Key, text)
}

// isoTime is a time in the local zone as ostree prints it: the offset in the shortest form that is exact.
func isoTime(sec uint64) string {
	if sec > 253402300799 {
		return "invalid"
	}
	t := time.Unix(int64(sec), 0).Local()
	zone := t.Format("-07:00")
	zone = strings.TrimSuffix(zone, ":00")
	return t.Format("2006-01-02T15:04:05") + zone
}

// metricSize is a size as GLib's g_format_size has it: powers of 1000.
func metricSize(n uint64) string {
	if n < 1000 {
		if n == 1 {
			return "1 byte"
		}
		return fmt.Sprintf("%d bytes", n)
	}
	f, unit := float64(n)/1000, 0
	for f >= 1000 && unit < 4 {
		f, unit = f/1000, unit+1
	}
	return fmt.Sprintf("%.1f\u00a0%s", f, []string{"kB", "MB", "GB", "TB", "PB"}[unit])
}
