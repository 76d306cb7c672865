// SPDX-License-Identifier: Apache-2.0

package rpmmd_test

import (
	"context"
	"reflect"
	"runtime"
	"testing"

	"grove/internal/rpm"
	"grove/internal/rpmmd"
)

// TestLargeCache: what is large enough to lie outside of the heap says the same as what was parsed, also after collections and after
// lists of it were added to.
func TestLargeCache(t *testing.T) {
	dir, cache := t.TempDir(), t.TempDir()
	writeRepo(t, dir, string(bigPrimary(5000)), nil)
	src := rpmmd.Source{ID: "big", BaseURLs: []string{dir}}
	var loads []*rpmmd.Metadata
	for range 3 {
		m, err := rpmmd.Load(context.Background(), src, rpmmd.LoadOptions{Client: quick(), CacheDir: cache})
		if err != nil {
			t.Fatal(err)
		}
		loads = append(loads, m)
	}
	for i := range loads[2].Packages {
		p := &loads[2].Packages[i]
		p.Requires = append(p.Requires, rpm.Dep{Name: p.Name + "-more"})
		p.Files = append(p.Files, "/more/"+p.Name)
	}
	runtime.GC()
	runtime.GC()
	parsed, cached, grown := loads[0].Packages, loads[1].Packages, loads[2].Packages
	if len(parsed) != 5000 || !reflect.DeepEqual(parsed, cached) {
		t.Errorf("%d packages parsed, %d from the cache, not the same", len(parsed), len(cached))
	}
	for i, p := range grown {
		n, k := len(cached[i].Requires), len(cached[i].Files)
		if !reflect.DeepEqual(p.Requires[:n], cached[i].Requires) || p.Requires[n].Name != p.Name+"-more" || p.Files[k] != "/more/"+p.Name {
			t.Fatalf("package %d: %v", i, p)
		}
	}
}
