// SPDX-License-Identifier: Apache-2.0

package image_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"grove/internal/repo"
)

// A new version of a base stands on the image of the old one as long as it is much the same and the old one can be read,
// and on the nearest where there are several.
func TestNear(t *testing.T) {
	old := many(60, nil)
	for _, c := range []struct {
		name      string
		base, top map[string]string
		before    func(t *testing.T, w world)
		images    string
		bases     int // how many images of bases there are then
	}{
		{"next version", many(60, map[string]string{"usr/bin/bash": "next"}), nil, nil, "layer.erofs base.erofs", 1},
		{"next version and a layer", many(60, map[string]string{"usr/share/d1/f1": ""}), many(60, map[string]string{"usr/share/d1/f1": "", "usr/bin/new": "n"}), nil, "layer.erofs base.erofs", 1},
		{"the old one again", many(60, map[string]string{"usr/bin/bash": "next"}), old, nil, "base.erofs", 1},
		{"another tree", many(200, nil), nil, nil, "base.erofs", 2},
		{"a folder less", many(60, map[string]string{"usr/bin/sh": "", "usr/bin/bash": ""}), nil, nil, "layer.erofs base.erofs", 1},
		{"not known what of", many(60, map[string]string{"usr/bin/bash": "next"}), nil, func(t *testing.T, w world) {
			notes, _ := filepath.Glob(filepath.Join(w.dir, "images", "*.json"))
			text, err := os.ReadFile(notes[0])
			must(t, err)
			before, _, _ := strings.Cut(string(text), `,"of"`)
			must(t, os.WriteFile(notes[0], []byte(before+"}\n"), 0o644))
		}, "base.erofs", 2},
		{"what it was of is gone", many(60, map[string]string{"usr/bin/bash": "next"}), nil, func(t *testing.T, w world) {
			_, err := w.r.Prune(t.Context(), repo.PruneOptions{RefsOnly: true})
			must(t, err)
		}, "base.erofs", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := setUp(t)
			_, root := w.commit(t, old)
			_, err := w.s.Base(t.Context(), w.mountable(t, root))
			must(t, err)
			if c.before != nil {
				c.before(t, w)
			}
			if c.top == nil {
				c.top = c.base
			}
			w.standsOn(t, c.base, c.top, c.images)
			if bases, _ := filepath.Glob(filepath.Join(w.dir, "images", "*.erofs")); len(bases) != c.bases {
				t.Errorf("%d images of bases, want %d", len(bases), c.bases)
			}
		})
	}
}

// Of several the one with the least difference counts, not the newest.
func TestNearest(t *testing.T) {
	w := setUp(t)
	var at []string
	for i, files := range []map[string]string{
		many(400, map[string]string{"usr/bin/more": "1"}),
		many(400, map[string]string{"usr/bin/more": "1", "usr/bin/other": "2", "usr/bin/third": "3"}),
	} {
		_, root := w.commit(t, files)
		// below finds the first near enough to the second: this is about two that are there already
		f, err := w.s.Base(t.Context(), w.mountable(t, root))
		must(t, err)
		when := time.Unix(1000+int64(i), 0)
		must(t, os.Chtimes(strings.TrimSuffix(f.Path, ".erofs")+".json", when, when))
		at = append(at, f.Path)
	}
	_, base := w.commit(t, many(400, map[string]string{"usr/bin/more": "1", "usr/bin/new": "n"}))
	files, err := w.s.Make(t.Context(), w.mountable(t, base), w.mountable(t, base), t.TempDir())
	must(t, err)
	if len(files) != 2 || stat(t, files[1].Path).Ino != stat(t, at[0]).Ino {
		t.Errorf("%+v, want it to stand on %s", files, at[0])
	}
}

// standsOn makes images and holds what they show against a checkout.
func (w world) standsOn(t *testing.T, base, top map[string]string, want string) {
	t.Helper()
	_, b := w.commit(t, base)
	_, root := w.commit(t, top)
	files, err := w.s.Make(t.Context(), w.mountable(t, b), w.mountable(t, root), t.TempDir())
	must(t, err)
	w.sameAs(t, files, root, want)
}
