// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"grove/internal/rpm"
	"grove/internal/scriptlet"
)

// scriptTimeout bounds one scriptlet. The slowest known ones (kernel modules, large caches) need minutes.
const scriptTimeout = 30 * time.Minute

// runScriptlets checks the tree out, runs the packages' scriptlets in an overlay over it, and takes what
// they changed into the tree. The checkout stays and is brought up to the finished tree by the last step.
func runScriptlets(ctx context.Context, b *build) error {
	extra, err := b.extraScripts()
	if err != nil {
		return err
	}
	if len(b.packages)+len(extra) == 0 {
		return nil
	}
	root, err := b.checkout(ctx)
	if err != nil {
		return fmt.Errorf("check out: %w", err)
	}
	upper, work := filepath.Join(b.o.Scratch, "upper"), filepath.Join(b.o.Scratch, "work")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	report, err := scriptlet.Run(ctx, scriptlet.Options{
		Root: root, Upper: upper, Work: work, New: b.scriptPackages(), Installed: b.remaining(),
		Timeout: scriptTimeout, SourceDate: int64(b.stamp), Extra: extra,
		Progress: func(what string) { b.o.Progress(Event{Step: "scriptlets", Detail: what}) },
	})
	if err != nil {
		return err
	}
	b.result.Warnings = append(b.result.Warnings, report.Warnings...)
	t, _, err := scriptlet.Collect(ctx, b.tx, b.tree, scriptlet.CollectOptions{Upper: upper, SourceDate: int64(b.stamp)})
	if err != nil {
		return fmt.Errorf("collect what the scriptlets wrote: %w", err)
	}
	before := b.tree
	b.tree = t
	return b.dropSecrets(before)
}

// checkout lays the tree out where scriptlets can see it.
func (b *build) checkout(ctx context.Context) (string, error) {
	dest := b.o.Checkout
	if dest == "" {
		dest = filepath.Join(b.o.Scratch, "root")
	}
	if err := b.layOut(ctx, dest); err != nil {
		return "", err
	}
	return dest, nil
}

// scriptPackages are the new packages as the runner of scriptlets wants them.
func (b *build) scriptPackages() []scriptlet.Package {
	count := map[string]int{}
	for _, h := range b.remaining() {
		count[h.NEVRA().Name]++
	}
	var out []scriptlet.Package
	for _, p := range b.packages {
		sp := scriptlet.Package{NEVRA: p.meta.NEVRA, Header: p.Header, Count: count[p.meta.Name] + 1}
		for _, o := range p.Owners {
			sp.Owners = append(sp.Owners, scriptlet.Owner{Path: o.Path, User: o.User, Group: o.Group, Mode: o.Mode, Caps: o.Caps, Dir: o.Dir})
		}
		out = append(out, sp)
	}
	return out
}

// remaining are the base's packages that stay.
func (b *build) remaining() []*rpm.Header {
	gone := map[*rpm.Header]bool{}
	for _, h := range b.removed {
		gone[h] = true
	}
	var out []*rpm.Header
	for _, h := range b.base.headers {
		if !gone[h] {
			out = append(out, h)
		}
	}
	return out
}

// extraScripts are the manifest's own, run after the packages'.
func (b *build) extraScripts() ([]scriptlet.Extra, error) {
	var out []scriptlet.Extra
	for i, body := range b.m.Postprocess {
		out = append(out, scriptlet.Extra{Name: fmt.Sprintf("postprocess %d", i+1), Body: body})
	}
	if name := b.m.PostprocessScript; name != "" {
		body, err := b.readFile(name)
		if err != nil {
			return nil, fmt.Errorf("postprocess-script: %w", err)
		}
		out = append(out, scriptlet.Extra{Name: name, Body: string(body)})
	}
	return out, nil
}
