// SPDX-License-Identifier: Apache-2.0

package deploy

import "context"

// prune removes the objects that no ref holds.
func (s *Store) prune(ctx context.Context, o GCOptions, r *GCReport) error {
	return ctx.Err()
}
