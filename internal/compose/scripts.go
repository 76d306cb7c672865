// SPDX-License-Identifier: Apache-2.0

package compose

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"grove/internal/rpm"
	"grove/internal/sandbox"
	"grove/internal/scriptlet"
	"grove/internal/tree"
)

// scriptTimeout bounds one scriptlet. The slowest known ones (kernel modules, large caches) need minutes.
const scriptTimeout = 30 * time.Minute

// runPretrans runs the packages' %pretrans over the tree of before: the base, or nothing.
func runPretrans(ctx context.Context, b *build) error {
	o := scriptlet.Options{New: b.scriptPackages(), Installed: b.base.headers}
	if has, err := scriptlet.HasPretrans(o); err != nil || !has {
		return err
	}
	if err := b.begin(ctx); err != nil {
		return err
	}
	return b.overlay(ctx, "pretrans", o, scriptlet.Pretrans)
}

// runScriptlets runs the scriptlets of all packages over the merged tree. The checkout stays and is brought up to the
// finished tree by the last step.
func runScriptlets(ctx context.Context, b *build) error {
	extra, err := b.extraScripts()
	if err != nil {
		return err
	}
	if len(b.packages)+len(b.removed)+len(extra) == 0 {
		return nil
	}
	o := scriptlet.Options{New: b.scriptPackages(), Installed: b.base.headers, Extra: extra}
	for i, p := range b.packages {
		if o.New[i].Sysusers, err = b.ownSysusers(p); err != nil {
			return err
		}
	}
	for _, r := range b.removals {
		o.Removed = append(o.Removed, scriptlet.Removed{Header: r.header, Files: r.files})
	}
	before := b.tree
	if err := b.overlay(ctx, "scriptlets", o, scriptlet.Run); err != nil {
		return err
	}
	return b.dropSecrets(before)
}

// overlay lays the tree out, runs scriptlets in an overlay over it, and takes what they changed into the tree.
func (b *build) overlay(ctx context.Context, step string, o scriptlet.Options,
	run func(context.Context, scriptlet.Options) (scriptlet.Report, error)) (err error) {
	scratch := filepath.Join(b.o.Scratch, fmt.Sprintf("%s-%d", step, b.stage))
	if o.Root, o.Image, err = b.scriptRoot(ctx, scratch+"-images"); err != nil {
		return fmt.Errorf("check out: %w", err)
	}
	o.Upper, o.Work = filepath.Join(scratch, "upper"), filepath.Join(scratch, "work")
	for _, d := range []string{o.Upper, o.Work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	o.Timeout, o.SourceDate = scriptTimeout, int64(b.stamp)
	o.Progress = func(what string) { b.o.Progress(Event{Step: "scriptlets", Detail: what}) }
	report, err := run(ctx, o)
	b.result.Warnings = append(b.result.Warnings, report.Warnings...)
	b.result.ScriptLog = append(b.result.ScriptLog, report.Log...)
	if err != nil {
		return err
	}
	if b.tree, _, err = scriptlet.Collect(ctx, b.tx, b.tree, scriptlet.CollectOptions{Upper: o.Upper, SourceDate: o.SourceDate}); err != nil {
		return fmt.Errorf("collect what the scriptlets wrote: %w", err)
	}
	return nil
}

// scriptRoot lays the tree out where scriptlets can see it: by its images, which are made in dir, or checked out.
func (b *build) scriptRoot(ctx context.Context, dir string) (string, *sandbox.Image, error) {
	dest := b.o.Checkout
	if dest == "" {
		dest = filepath.Join(b.o.Scratch, "root")
	}
	if b.o.Images == nil {
		return dest, nil, b.layOut(ctx, dest)
	}
	if err := os.MkdirAll(dest, 0o755); err != nil {
		return "", nil, err
	}
	m, err := b.layOutImages(ctx, dir)
	return dest, m, err
}

// layOutImages makes the images of the tree as it is now. That of the base is the one that all guests on it have.
func (b *build) layOutImages(ctx context.Context, dir string) (*sandbox.Image, error) {
	top, err := b.tree.Write(b.tx)
	if err != nil {
		return nil, err
	}
	var base tree.Root
	if b.base.tree != nil { // in a later stage the result of the one before, of which not all is in the repo yet
		if base, err = b.base.tree.Write(b.tx); err != nil {
			return nil, err
		}
	}
	if err := b.flush(ctx); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return b.o.Images.Scratch(ctx, base, top, dir)
}

// scriptPackages are the new packages as the runner of scriptlets wants them.
func (b *build) scriptPackages() []scriptlet.Package {
	var out []scriptlet.Package
	for _, p := range b.packages {
		sp := scriptlet.Package{NEVRA: p.meta.NEVRA, Header: p.Header}
		for _, o := range p.Owners {
			if to := b.beside[o.Path]; to != "" {
				o.Path = to
			}
			if !b.keepBase[o.Path] {
				sp.Owners = append(sp.Owners, scriptlet.Owner{Path: o.Path, User: o.User, Group: o.Group, Mode: o.Mode, Caps: o.Caps, Dir: o.Dir})
			}
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
