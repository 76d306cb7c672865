// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"

	"grove/internal/composefs"
	"grove/internal/durable"
	"grove/internal/repo"
	"grove/internal/tree"
)

// writeImage makes dest the canonical composefs image of a tree.
func writeImage(ctx context.Context, r *repo.Repo, root tree.Root, dest string, verity bool) error {
	if r.Mode() == repo.Archive {
		return usage("checkout --composefs: a repository of mode archive has no files that an image could name; pull into one of mode bare")
	}
	var image bytes.Buffer
	o := composefs.Options{Stat: composefs.Stat(r, verity, false), Canonical: true}
	if _, err := composefs.Write(ctx, &image, r, root, o); err != nil {
		return fmt.Errorf("checkout %s: %w", dest, err)
	}
	return durable.WriteFile(dest, image.Bytes(), 0o644)
}
