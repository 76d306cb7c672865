// SPDX-License-Identifier: Apache-2.0

package delta_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"grove/internal/delta"
	"grove/internal/ostree"
)

// Deltas that ostree makes, with every option, are applied in every mode.
func TestApplyPeersDeltas(t *testing.T) {
	needPeer(t)
	w := makeWorld(t)
	for name, args := range map[string][]string{
		"plain": nil, "inline": {"--inline"}, "small parts": {"--max-chunk-size=1"}, "no bsdiff": {"--disable-bsdiff"},
		"big endian": {"--set-endianness=B", "--inline"},
	} {
		for _, empty := range []bool{false, true} {
			if empty && name != "inline" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "superblock")
				args := append([]string{"--repo=" + w.r.Path(), "static-delta", "generate", "--min-fallback-size=0", "--filename=" + file, "--to=x"}, args...)
				var start ostree.Checksum
				if empty {
					args = append(args, "--empty")
				} else {
					start = w.before
				}
				peer(t, args...)
				d, err := delta.Open(file)
				ok(t, err)
				ok(t, d.Check(context.Background(), w.r))
				d.Close()
				for mode, m := range modes {
					if empty && mode != "bare-user" {
						continue
					}
					r := w.clone(t, m, start)
					c, err := delta.Apply(context.Background(), r, file, delta.ApplyOptions{})
					if err != nil {
						t.Fatalf("%s: %v", mode, err)
					}
					if c != w.after {
						t.Fatalf("%s: made %s, wanted %s", mode, c, w.after)
					}
					check(t, r)
				}
			})
		}
	}
}

// ostree applies deltas of every kind that are made here, and shows them as what they are.
func TestPeerAppliesOurDeltas(t *testing.T) {
	needPeer(t)
	w := makeWorld(t)
	for name, o := range ways {
		for _, from := range []ostree.Checksum{{}, w.before} {
			if from.IsZero() && name != "inline" && name != "plain" {
				continue
			}
			n := ostree.DeltaName{From: from, To: w.after}
			generate(t, w, n, o)
			if got := peer(t, "--repo="+w.r.Path(), "static-delta", "list"); !strings.Contains(got, n.String()) {
				t.Errorf("%s: ostree lists %s", name, got)
			}
			if !o.Inline {
				order := "Endianness: " + max(o.Order, delta.LittleEndian).String()
				if o.Order == delta.BigEndian {
					order = "Endianness: big"
				}
				if got := peer(t, "--repo="+w.r.Path(), "static-delta", "show", n.String()); !strings.Contains(got, order) || !strings.Contains(got, "To: "+w.after.String()) {
					t.Errorf("%s: ostree shows %s", name, got)
				}
			}
			for _, mode := range []string{"bare", "bare-user"} { // into an archive it applies none that opens a file
				if from.IsZero() && mode == "bare" {
					continue
				}
				r := w.clone(t, modes[mode], from)
				peer(t, "--repo="+r.Path(), "static-delta", "apply-offline", w.r.DeltaDir(n))
				peer(t, "--repo="+r.Path(), "fsck")
				r = open(t, r.Path())
				check(t, r)
				if got, want := print(t, r, w.after), print(t, w.r, w.after); got != want {
					t.Errorf("%s into %s: the trees differ", name, mode)
				}
			}
		}
	}
}

// Deltas from before the byte order was noted, of machines of both kinds.
func TestApplyOldDeltas(t *testing.T) {
	shared := os.Getenv("GROVE_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	for name, order := range map[string]delta.ByteOrder{"little": delta.LittleEndian, "big": delta.BigEndian} {
		t.Run(name, func(t *testing.T) {
			archive := shared + "/data/ostree/ostreedev-ostree/tests/pre-endian-deltas-repo-" + name + ".tar.xz"
			if _, err := os.Stat(archive); err != nil {
				t.Skip("needs the shared data folder")
			}
			dir := t.TempDir()
			out, err := exec.Command("tar", "-C", dir, "-xf", archive).CombinedOutput()
			if err != nil {
				t.Fatalf("tar: %v\n%s", err, out)
			}
			src := open(t, dir+"/pre-endian-deltas-repo")
			seen := 0
			names, err := src.Deltas()
			ok(t, err)
			if len(names) != 2 {
				t.Fatalf("deltas: %v", names)
			}
			for _, n := range names {
				d, err := delta.OpenIn(src, n)
				ok(t, err)
				defer d.Close()
				fi, err := os.Stat(src.DeltaDir(n) + "/0")
				if err != nil {
					continue // of one of the two only the superblock is there
				}
				if d.Order != order || !d.Guessed || d.Parts[0].SizeBytes != uint64(fi.Size()) {
					t.Errorf("%s: order %v, guessed %v, part of %d bytes, has %d", n, d.Order, d.Guessed, d.Parts[0].SizeBytes, fi.Size())
				}
				ok(t, d.Check(context.Background(), src))
				info, err := d.Inspect(src, 0)
				ok(t, err)
				if info.Ops.Patch != 1 || len(d.Fallbacks) != 1 || d.Fallbacks[0].UsizeBytes != 21851648 {
					t.Errorf("%s: %+v, fallbacks %v", n, info, d.Fallbacks)
				}
				seen++
				r := world{r: src}.clone(t, modes["archive"], n.From)
				_, err = delta.Apply(context.Background(), r, src.DeltaDir(n), delta.ApplyOptions{})
				if err == nil || !strings.Contains(err.Error(), "only a pull can do that") {
					t.Errorf("%s: %v", n, err)
				}
			}
			if seen != 1 {
				t.Errorf("%d deltas have parts, wanted 1", seen)
			}
		})
	}
}
