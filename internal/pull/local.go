// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"context"
	"fmt"

	"grove/internal/repo"
)

// localContent brings a commit from a repository on this machine. Hard links are made only where the remote asks for no
// signature: what is signed is copied and held against its checksums, so that nobody can change it behind us.
func (p *puller) localContent(ctx context.Context, v *verified) error {
	o := repo.PullOptions{Untrusted: p.rem.policy.WantsCommit() || p.rem.policy.WantsSummary()}
	if err := p.r.PullLocal(ctx, p.rem.local, []string{v.sum.String()}, o); err != nil {
		return fmt.Errorf("commit %s: %w", v.sum, err)
	}
	return nil
}
