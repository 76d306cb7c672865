// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"grove/internal/durable"
	"grove/internal/ostree"
)

// deltas deletes the static deltas whose commit is not there.
func (p *pruner) deltas() error {
	return p.r.eachDelta(func(path string, to ostree.Checksum) error {
		if p.r.hasLocal(object{ostree.TypeCommit, to}) {
			return p.ctx.Err()
		}
		return p.deleteDelta(path)
	})
}

func (p *pruner) deleteDelta(path string) error {
	p.result.Deltas++
	if p.o.DryRun {
		return nil
	}
	return durable.RemoveAll(path)
}

// PruneDeltas deletes the static deltas to a commit, and nothing else.
//
//	errors  durable.ErrBusy
func (r *Repo) PruneDeltas(ctx context.Context, to ostree.Checksum) (PruneResult, error) {
	lock, err := r.lock(ctx, true)
	if err != nil {
		return PruneResult{}, fmt.Errorf("prune: %w", err)
	}
	defer lock.Release()
	p := &pruner{r: r, ctx: ctx}
	err = r.eachDelta(func(path string, c ostree.Checksum) error {
		if c != to {
			return ctx.Err()
		}
		return p.deleteDelta(path)
	})
	return p.result, err
}

// eachDelta calls f for the folder of every static delta with the commit that it leads to.
//
//	source  ostree src/libostree/ostree-core.c, _ostree_get_relative_static_delta_path
func (r *Repo) eachDelta(f func(path string, to ostree.Checksum) error) error {
	top := filepath.Join(r.path, "deltas")
	dirs, err := os.ReadDir(top)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, d := range dirs {
		ents, err := os.ReadDir(filepath.Join(top, d.Name()))
		if missing(err) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range ents {
			to, ok := deltaTo(d.Name() + e.Name())
			if !ok {
				continue // nothing that libostree would take for a delta
			}
			if err := f(filepath.Join(top, d.Name(), e.Name()), to); err != nil {
				return fmt.Errorf("static delta %s/%s: %w", d.Name(), e.Name(), err)
			}
		}
	}
	return nil
}

// deltaTo reads the target of a delta's name: TO or FROM-TO, both as base64 with _ for the slash.
func deltaTo(name string) (ostree.Checksum, bool) {
	if _, to, ok := strings.Cut(name, "-"); ok {
		name = to
	}
	raw, err := base64.RawStdEncoding.DecodeString(strings.ReplaceAll(name, "_", "/"))
	if err != nil {
		return ostree.Checksum{}, false
	}
	c, err := ostree.ChecksumFromBytes(raw)
	return c, err == nil
}
