// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"grove/internal/delta"
	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
)

// deltaJSON is all that is known of a delta.
type deltaJSON struct {
	Delta     string          `json:"delta"`
	Signed    bool            `json:"signed"`
	From      ostree.Checksum `json:"from"`
	To        ostree.Checksum `json:"to"`
	Endian    string          `json:"endianness"`
	Guessed   bool            `json:"endianness_guessed,omitempty"`
	Timestamp uint64          `json:"timestamp"`
	Fallbacks []fallbackJSON  `json:"fallbacks"`
	Parts     []deltaPartJSON `json:"parts"`
}

type fallbackJSON struct {
	Object string `json:"object"`
	Size   uint64 `json:"size"`
	Usize  uint64 `json:"usize"`
}

type deltaPartJSON struct {
	Inline  bool           `json:"inline"`
	Objects int            `json:"objects"`
	Size    uint64         `json:"size"`
	Usize   uint64         `json:"usize"`
	Modes   int            `json:"modes"`
	Xattrs  int            `json:"xattrs"`
	Data    int            `json:"data"`
	Ops     int            `json:"ops"`
	Counts  delta.OpCounts `json:"-"`
	ByOp    map[string]int `json:"by_op"`
}

func deltaView(r *repo.Repo, d *delta.File) (deltaJSON, error) {
	out := deltaJSON{
		Delta: d.Name.String(), Signed: d.Signed, From: d.Name.From, To: d.Name.To, Endian: d.Order.String(), Guessed: d.Guessed,
		Timestamp: d.Timestamp, Fallbacks: []fallbackJSON{}, Parts: []deltaPartJSON{},
	}
	for _, f := range d.Fallbacks {
		out.Fallbacks = append(out.Fallbacks, fallbackJSON{f.String(), f.SizeBytes, f.UsizeBytes})
	}
	for i, p := range d.Parts {
		info, err := d.Inspect(r, i)
		if err != nil {
			return out, err
		}
		c := info.Ops
		out.Parts = append(out.Parts, deltaPartJSON{
			p.Inline(), info.Objects, info.SizeBytes, info.UsizeBytes, info.Modes, info.Xattrs, info.DataBytes, info.OpsBytes, c,
			map[string]int{"openspliceclose": c.Splice, "open": c.Open, "write": c.Write, "setread": c.SetSource, "unsetread": c.UnsetSource,
				"close": c.Close, "bspatch": c.Patch},
		})
	}
	return out, nil
}

func (v *repoVerbs) deltaShow() *cobra.Command {
	return verb("show DELTA", "what a delta is made of", `
DELTA is a name as list shows it, or the path, with a slash, of a superblock or of a folder with one. Every part is unpacked and held
against what the superblock says of it.`, cobra.ExactArgs(1), func(_ *cobra.Command, args []string) error {
		r, err := v.open()
		if err != nil {
			return err
		}
		d, err := openDelta(r, args[0])
		if err != nil {
			return err
		}
		defer d.Close()
		out, err := deltaView(r, d)
		if err != nil {
			return err
		}
		return v.a.show(out, func() { v.a.printDelta(out) })
	})
}

// printDelta prints a delta as ostree does.
func (a *app) printDelta(d deltaJSON) {
	yes := map[bool]string{true: "yes", false: "no"}
	a.printf("Delta: %s\nSigned: %s\n", d.Delta, yes[d.Signed])
	if d.From.IsZero() {
		a.printf("From <scratch>\n")
	} else {
		a.printf("From: %s\n", d.From)
	}
	guessed := ""
	if d.Guessed {
		guessed = " (heuristic)"
	}
	a.printf("To: %s\nEndianness: %s%s\nTimestamp: %d\nNumber of parents: 0\n", d.To, d.Endian, guessed, d.Timestamp)
	a.printf("Number of fallback entries: %d\n", len(d.Fallbacks))
	var size1, usize1, size2, usize2 uint64
	for _, f := range d.Fallbacks {
		a.printf("  %s\n", f.Object[:64])
		size1, usize1 = size1+f.Size, usize1+f.Usize
	}
	total := func(what string, bytes uint64) { a.printf("Total %s: %d (%s)\n", what, bytes, size(int64(bytes))) }
	total("Fallback Size", size1)
	total("Fallback Uncompressed Size", usize1)
	a.printf("Number of parts: %d\n", len(d.Parts))
	for i, p := range d.Parts {
		c := p.Counts
		a.printf("PartMeta%d: nobjects=%d size=%d usize=%d\n", i, p.Objects, p.Size, p.Usize)
		a.printf("PartPayload%d: nmodes=%d nxattrs=%d blobsize=%d opsize=%d\n", i, p.Modes, p.Xattrs, p.Data, p.Ops)
		a.printf("PartPayloadOps%d: openspliceclose=%d open=%d write=%d setread=%d unsetread=%d close=%d bspatch=%d\n",
			i, c.Splice, c.Open, c.Write, c.SetSource, c.UnsetSource, c.Close, c.Patch)
		size2, usize2 = size2+p.Size, usize2+p.Usize
	}
	total("Part Size", size2)
	total("Part Uncompressed Size", usize2)
	total("Size", size1+size2)
	total("Uncompressed Size", usize1+usize2)
}

// planJSON is what a pull of a delta would bring.
type planJSON struct {
	Delta     string `json:"delta"`
	Parts     int    `json:"parts"`
	PartsHere int    `json:"parts_here"`
	Size      uint64 `json:"size"`
	SizeHere  uint64 `json:"size_here"`
	Usize     uint64 `json:"usize"`
}

// showPlans says what a pull would bring, as ostree does.
func (a *app) showPlans(plans []pull.DeltaPlan) error {
	out := []planJSON{}
	for _, p := range plans {
		out = append(out, planJSON{p.Delta.String(), p.Parts, p.PartsHere, p.SizeBytes, p.SizeHere, p.Usize})
	}
	return a.show(out, func() {
		if len(plans) == 0 {
			a.printf("nothing to do\n")
		}
		for _, p := range plans {
			a.printf("Delta update: %d/%d parts, %s/%s, %s total uncompressed\n", p.PartsHere, p.Parts, size(int64(p.SizeHere)),
				size(int64(p.SizeBytes)), size(int64(p.Usize)))
		}
	})
}
