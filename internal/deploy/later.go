// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"grove/internal/durable"
)

// stagedLink names the deployment that was made to become current later. Where it names none, or the current one,
// nothing is staged: Finalize was killed at its end.
func (g *Guest) stagedLink() string { return filepath.Join(g.dir, "staged") }

// stagedID is the number that `staged` names; 0 = none.
func (g *Guest) stagedID() int {
	target, err := os.Readlink(g.stagedLink())
	if err != nil {
		return 0
	}
	id, _ := parseID(strings.TrimPrefix(target, "deployments/"))
	return id
}

// Staged is the deployment that waits to be made current, perhaps Stale; nil = none. Its /etc is made anew by Finalize.
func (g *Guest) Staged() (*Deployment, error) {
	all, err := g.Deployments()
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Staged {
			return &all[i], nil
		}
	}
	return nil, nil
}

// Finalize makes the staged deployment current. Its /etc is merged now, from what the current one has by now, and what
// /var lacks is filled in. before is asked then; its error ends it. Until the last step the guest is as it was, and Finalize can be run again.
//
//	errors  *NotFoundError where nothing is staged; ErrRunning
func (g *Guest) Finalize(ctx context.Context, before func() error) (Report, error) {
	var r Report
	d, err := g.Staged()
	if err != nil {
		return r, err
	}
	if d == nil || d.Stale {
		return r, &NotFoundError{What: fmt.Sprintf("guest %s: staged deployment", g.name)}
	}
	if d.Running() {
		return r, fmt.Errorf("finalize deployment %d of guest %s: %w", d.ID, g.name, ErrRunning)
	}
	from, err := g.Current()
	if err != nil {
		return r, err
	}
	etc := filepath.Join(d.Root(), "etc")
	if mounts, err := mountsBelow(etc); err != nil || len(mounts) > 0 {
		return r, errors.Join(fmt.Errorf("finalize deployment %d of guest %s: mounted below its /etc: %v", d.ID, g.name, mounts), err)
	}
	if err := os.RemoveAll(etc); err != nil {
		return r, err
	}
	if err := g.store.makeEtc(ctx, d.Commit, d.Root(), from, &r); err != nil {
		return r, fmt.Errorf("finalize deployment %d of guest %s: %w", d.ID, g.name, err)
	}
	if err := durable.SyncFS(d.dir); err != nil {
		return r, err
	}
	if err := before(); err != nil {
		return r, fmt.Errorf("finalize deployment %d of guest %s: %w", d.ID, g.name, err)
	}
	if r.VarFilled, err = g.store.fillVar(d.Commit, d.openDir, g.VarDir(), true); err != nil {
		return r, fmt.Errorf("finalize deployment %d of guest %s: fill /var: %w", d.ID, g.name, err)
	}
	if err := g.SetCurrent(ctx, d.ID); err != nil {
		return r, err
	}
	return r, g.Unstage()
}

// Unstage forgets which deployment was staged; the deployment stays.
func (g *Guest) Unstage() error {
	if err := os.Remove(g.stagedLink()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.SyncDir(g.dir)
}

// markStaged is the step of publishing that makes a deployment the staged one.
func (g *Guest) markStaged(id int) error {
	return durable.Swap(g.stagedLink(), "deployments/"+strconv.Itoa(id))
}
