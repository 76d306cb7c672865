// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"grove/internal/sandbox"
)

// Portable is a unit of a guest as a portable service: systemd-portabled takes the package's own unit out of the tree
// and puts a profile's limits on it; grove's part is the tree.
type Portable struct {
	Unit  string // as the guest calls it, and then the host
	Files []HostFile
	Tree  string // where the tree is mounted
	Match string // the prefix of names of units that portabled takes
}

// profiles are those that come with systemd.
//
//	source  systemd src/portable/profile
var profiles = []string{"default", "nonetwork", "strict", "trusted"}

// MakePortable says what the host needs beside what portabled writes: a unit that mounts the tree, and a drop-in that
// has the service wait for it.
//
//	errors  fs.ErrNotExist: the guest has no such unit
//	source  systemd docs/PORTABLE_SERVICES.md
func MakePortable(o ServiceOptions) (Portable, error) {
	s, err := MakeService(o) // the same checks of unit and paths; its text is not used
	if err != nil {
		return Portable{}, err
	}
	if !slices.Contains(profiles, o.Profile) {
		return Portable{}, fmt.Errorf("profile %q: want one of %s", o.Profile, strings.Join(profiles, ", "))
	}
	host := s.Name
	w := &serviceWriter{o: o, unit: strings.TrimPrefix(host, "grove-"+o.Guest.Name+"-"), host: host}
	match, _, _ := strings.Cut(strings.TrimSuffix(w.unit, ".service"), "@")
	p := Portable{Unit: w.unit, Tree: w.treeDir(), Match: match}
	mounts := strings.Replace(w.treeText(), "PartOf="+host, "PartOf="+w.unit, 1)
	dropIn := fmt.Sprintf(header, o.Guest.Name, o.Guest.Name) + `[Unit]
Requires=` + w.treeUnit() + `
After=` + w.treeUnit() + `

[Service]
# The guest's own folders; the tree itself is sealed.
ReadWritePaths=+/var
`
	p.Files = []HostFile{
		{Path: filepath.Join(o.UnitDir, w.treeUnit()), Text: mounts, Unit: w.unit},
		{Path: filepath.Join(o.UnitDir, w.unit+".d", "grove.conf"), Text: dropIn, Unit: w.unit, Attached: []string{p.Tree, match}},
	}
	return p, nil
}

// Attach has portabled take the units out of the tree, which is mounted meanwhile: what is attached names its place, and
// the tree's own unit mounts it there before each start.
//
//	errors  sandbox.ErrNoProgram where there is no portablectl
func (p Portable) Attach(ctx context.Context, g Guest, guestDir, profile string) error {
	if err := MountTree(g, guestDir, p.Tree); err != nil {
		return err
	}
	_, err := sandbox.HostTool(ctx, nil, "portablectl", "attach", "--quiet", "--profile="+profile, p.Tree, p.Match)
	if err != nil {
		err = fmt.Errorf("attach %s: %w", p.Unit, err)
	}
	_, uerr := UnmountTree(p.Tree)
	return errors.Join(err, uerr)
}

// Detach undoes what Attach did for the files of a guest that belong to a unit ("" = all).
func Detach(ctx context.Context, guestDir, unit string) error {
	known, err := readRecord(guestDir)
	if err != nil {
		return err
	}
	for _, f := range known {
		if len(f.Attached) == 0 || unit != "" && f.Unit != unit {
			continue
		}
		_, err := sandbox.HostTool(ctx, nil, append([]string{"portablectl", "detach", "--quiet"}, f.Attached...)...)
		if err != nil && !strings.Contains(err.Error(), "No unit files associated") {
			return fmt.Errorf("detach %s: %w", f.Unit, err)
		}
	}
	return nil
}
