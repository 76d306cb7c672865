// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"grove/internal/repo"
	"grove/internal/trust"
)

// newPolicy reads what signatures the remote's commits and summary must bear.
func newPolicy(r *repo.Repo, conf repo.Remote, keyDir string) (trust.Policy, error) {
	t := r.TrustOf(conf)
	if keyDir != "" {
		t.Host.GPGDirs = []string{keyDir}
	}
	return trust.NewPolicy(t)
}
