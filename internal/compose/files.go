// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"grove/internal/fetch"
	"grove/internal/rpmmd"
	"grove/internal/solve"
)

// solveWithFiles asks the solver. Sources' file lists are read before where a request or a dependency names files that primary metadata
// need not have.
func (b *build) solveWithFiles(ctx context.Context, req solve.Request) (solve.Plan, error) {
	paths, globs := solve.MissingPaths(req), solve.PathGlobs(req.Install)
	for _, s := range req.Install {
		if strings.HasPrefix(s, "/") && !rpmmd.InPrimary(s) && !slices.Contains(paths, s) {
			paths = append(paths, s)
		}
	}
	if len(paths)+len(globs) > 0 {
		for i, md := range b.sources {
			if err := b.loadFiles(ctx, md, paths, globs); err != nil {
				return solve.Plan{}, err
			}
			req.Repos[i].Packages = md.Packages
		}
		b.bindPackages(&req) // the fuller lists hold again what is bound to another source
	}
	plan, err := b.o.Solve(req)
	if err != nil && len(b.unlisted) > 0 {
		err = fmt.Errorf("%w (without file lists: %s)", err, strings.Join(b.unlisted, "; "))
	}
	return plan, err
}

// loadFiles completes the files of one source's packages. Where its lists cannot be had, the work goes on as it does without a source (see
// loadSources); a source may also have none.
func (b *build) loadFiles(ctx context.Context, md *rpmmd.Metadata, paths, globs []string) error {
	err := md.LoadFiles(ctx, paths, globs)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpmmd.ErrNoFilelists):
	case ctx.Err() != nil || !rpmmd.Unavailable(err) || diskFault(err):
		return err
	case b.needsAll() && !md.Source.SkipIfUnavailable && !errors.Is(err, fetch.ErrOffline):
		return fmt.Errorf("%w (skip_if_unavailable=1 in its .repo file would leave them out)", err)
	}
	text := err.Error()
	if slices.Contains(b.unlisted, text) { // asked for a second time
		return nil
	}
	b.unlisted = append(b.unlisted, text)
	if !errors.Is(err, rpmmd.ErrNoFilelists) {
		b.warn("%s: files that only its lists name are not found", text)
	}
	return nil
}
