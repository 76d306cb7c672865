// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"

	"grove/internal/deploy"
	"grove/internal/machine"
)

// judged tells whether somebody judges a new deployment of the guest after it became current: hooks, or units that are
// started again.
func (e Env) judged(g *deploy.Guest) (bool, error) {
	hooks, err := e.hooks(g.Name())
	if err != nil {
		return false, err
	}
	units, err := machine.RestartUnits(g.Dir())
	return len(hooks)+len(units) > 0, err
}

// judge has the current deployment judged where a change was killed after it had made it current and before that was
// done. The change was made, so it is brought to its end: the deployment stays, or the one before is current again. The
// caller holds the locks. It gives a warning where there was something to do.
//
//	errors  the deployment was found wanting, and is current no more
func (e Env) judge(ctx context.Context, g *deploy.Guest) ([]string, error) {
	cur, err := currentOrNone(g)
	if err != nil || cur == nil || !cur.Unjudged {
		return nil, err
	}
	h := hooked{guest: g, id: cur.ID, from: cur.From, root: cur.Root(), image: cur.Mount()}
	if _, err := g.Deployment(cur.From); err != nil {
		h.from = 0 // it is kept no more: there is no way back
	}
	if err := e.checkAfter(ctx, h); err != nil {
		return nil, fmt.Errorf("an earlier change did not get to its end: %w", err)
	}
	return []string{fmt.Sprintf("the change to deployment %d was killed before its hooks were done; they ran now, and it stays", cur.ID)}, nil
}

// leave forgets that a deployment was to be judged, which a person leaves.
func leave(g *deploy.Guest, d deploy.Deployment) error {
	if !d.Unjudged {
		return nil
	}
	return g.Judged(d.ID)
}

// finalizeJudged is Finalize where nothing is staged, but the current deployment waits to be judged.
func (e Env) finalizeJudged(ctx context.Context, g *deploy.Guest, cur deploy.Deployment) (Change, error) {
	warnings, err := e.judge(ctx, g)
	return Change{
		Guest: g.Name(), From: cur.ID, Unchanged: true, Commit: cur.Commit.String(), Warnings: warnings,
		Base: BaseState{cur.BaseRef, cur.BaseCommit, cur.Version},
	}, err
}

// afterJudged ends a judgement: err is what it came to, from the deployment to go back to (0 = none).
func (h hooked) afterJudged(ctx context.Context, err error) error {
	ctx = context.WithoutCancel(ctx)
	if err == nil || h.from == 0 {
		return errors.Join(err, h.guest.Judged(h.id))
	}
	if berr := h.guest.SetCurrent(ctx, h.from); berr != nil {
		return errors.Join(err, fmt.Errorf("go back to deployment %d: %w", h.from, berr))
	}
	err = fmt.Errorf("guest %s: rolled back to deployment %d: deployment %d: %w", h.guest.Name(), h.from, h.id, err)
	return errors.Join(err, h.guest.Judged(h.id))
}
