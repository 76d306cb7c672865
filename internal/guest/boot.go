// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"grove/internal/deploy"
	"grove/internal/machine"
)

// Boot boots a guest (deployment id, 0 = the current one) and gives the exit code of systemd-nspawn.
func Boot(ctx context.Context, e Env, name string, id int, b machine.Boot) (int, error) {
	g, d, err := e.running(name, id)
	if err != nil {
		return 0, err
	}
	if err := hasInit(d); err != nil {
		return 0, fmt.Errorf("boot %s: %w", name, err)
	}
	return machine.RunBoot(ctx, machineOf(g, d), g.Dir(), b)
}

// ErrNoInit says that there is nothing in a guest that boots it.
var ErrNoInit = errors.New("the guest has no init, such as systemd")

// hasInit tells whether a tree has what systemd-nspawn starts first.
//
//	errors  ErrNoInit
//	source  systemd src/nspawn/nspawn.c, run_payload
func hasInit(d *deploy.Deployment) error {
	tree, err := d.OpenTree()
	if err != nil {
		return err
	}
	defer tree.Close()
	for _, name := range []string{"usr/lib/systemd/systemd", "lib/systemd/systemd", "sbin/init"} {
		f, err := openIn(tree.Name(), name, false)
		if err == nil {
			return f.Close()
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return ErrNoInit
}

func (e Env) running(name string, id int) (*deploy.Guest, *deploy.Deployment, error) {
	g, err := e.Store.Guest(name)
	if err != nil {
		return nil, nil, err
	}
	d, err := pickDeployment(g, id)
	return g, d, err
}

func machineOf(g *deploy.Guest, d *deploy.Deployment) machine.Guest {
	return machine.Guest{Name: g.Name(), Root: d.Root(), Image: d.Mount(), Label: d.MountName(), Var: g.VarDir(), RunLock: d.RunLock()}
}

// Mount mounts a guest's tree (deployment id, 0 = the current one) at a folder of this host; see machine.MountTree.
func Mount(e Env, name string, id int, dir string) (Mounted, error) {
	g, d, err := e.running(name, id)
	if err != nil {
		return Mounted{}, err
	}
	return Mounted{Guest: name, Deployment: d.ID, Path: dir}, machine.MountTree(machineOf(g, d), g.Dir(), dir)
}

// Mounted is a tree on a folder of this host.
type Mounted struct {
	Guest      string `json:"guest"`
	Deployment int    `json:"deployment"`
	Path       string `json:"path"`
}

// Host says where units of this host are written; the zero value is the host's own places.
type Host struct {
	UnitDir   string // "" = /etc/systemd/system
	NspawnDir string // "" = /etc/systemd/nspawn
	ImageDir  string // "" = /var/lib/machines
	Program   string // path of grove, as units start it
}

func (h Host) orDefault() Host {
	for _, f := range []struct {
		at   *string
		real string
	}{{&h.UnitDir, "/etc/systemd/system"}, {&h.NspawnDir, "/etc/systemd/nspawn"}, {&h.ImageDir, "/var/lib/machines"}} {
		if *f.at == "" {
			*f.at = f.real
		}
	}
	return h
}

// Enabled is what Enable, Disable and Service wrote to or removed from the host.
type Enabled struct {
	Guest    string   `json:"guest"`
	Unit     string   `json:"unit,omitempty"`
	Written  []string `json:"written"`
	Removed  []string `json:"removed,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// EnableOptions say how systemd runs a guest.
type EnableOptions struct {
	Network      string // as machine.Boot
	PrivateUsers bool
	AtBoot       bool // start it with the host
	Restart      bool // start it again, where it runs, when another deployment is current
}

// Enable writes the files with which machinectl and systemctl run a guest: an nspawn file, a drop-in of
// systemd-nspawn@NAME.service and a link in the folder of machines. A file that grove did not write is never replaced.
//
//	errors  machine.ErrForeign
func Enable(ctx context.Context, e Env, name string, h Host, o EnableOptions) (Enabled, error) {
	g, d, err := e.running(name, 0)
	if err != nil {
		return Enabled{}, err
	}
	out := Enabled{Guest: name, Unit: "systemd-nspawn@" + name + ".service"}
	switch err := hasInit(d); {
	case errors.Is(err, ErrNoInit):
		out.Warnings = append(out.Warnings, err.Error()+": it can not be started before it has")
	case err != nil:
		return Enabled{}, err
	}
	h = h.orDefault()
	files, err := machine.GuestUnits(machine.UnitOptions{
		Name: name, GuestDir: g.Dir(), StateRoot: e.Store.Root(), Program: h.Program, UnitDir: h.UnitDir, NspawnDir: h.NspawnDir, ImageDir: h.ImageDir,
		Network: o.Network, PrivateUsers: o.PrivateUsers, AtBoot: o.AtBoot, Restart: o.Restart,
	})
	if err != nil {
		return Enabled{}, err
	}
	return e.writeUnits(ctx, g, files, out)
}

// writeUnits writes files of the host under the guest's lock.
func (e Env) writeUnits(ctx context.Context, g *deploy.Guest, files []machine.HostFile, out Enabled) (Enabled, error) {
	lock, err := g.Lock(ctx, e.Wait)
	if err != nil {
		return out, err
	}
	defer lock.Release()
	out.Written, err = machine.WriteHostFiles(g.Dir(), files)
	return out, err
}

// Disable removes every file of the host that Enable or Service wrote for the guest; unit = "" for all of them, else those of
// one service.
func Disable(ctx context.Context, e Env, name, unit string) (Enabled, error) {
	g, err := e.Store.Guest(name)
	if err != nil {
		return Enabled{}, err
	}
	lock, err := g.Lock(ctx, e.Wait)
	if err != nil {
		return Enabled{}, err
	}
	defer lock.Release()
	out := Enabled{Guest: name, Written: []string{}}
	if err := machine.Detach(ctx, g.Dir(), unit); err != nil {
		return out, err
	}
	out.Removed, err = machine.RemoveHostFiles(g.Dir(), unit)
	return out, err
}

// EnableTimer writes the units that upgrade all guests of a state root at a time that systemd's OnCalendar= understands.
func EnableTimer(e Env, h Host, calendar string) (Enabled, error) {
	h = h.orDefault()
	files, err := machine.TimerUnits(h.Program, e.Store.Root(), h.UnitDir, calendar)
	if err != nil {
		return Enabled{}, err
	}
	out := Enabled{Unit: "grove-upgrade.timer"}
	out.Written, err = machine.WriteHostFiles(e.Store.Root(), files)
	return out, err
}

// DisableTimer removes what EnableTimer wrote.
func DisableTimer(e Env) (Enabled, error) {
	out := Enabled{Written: []string{}}
	var err error
	out.Removed, err = machine.RemoveHostFiles(e.Store.Root(), "")
	return out, err
}

// ServiceOptions are those of Service.
type ServiceOptions struct {
	Without []string // hardening keys to leave out
	Bind    []string // "HOST[:GUEST[:ro]]"
	AtBoot  bool
	Restart bool
	Print   bool // write nothing
	// WriteEtc lets the service write to the deployment's /etc.
	WriteEtc bool
	Profile  string // of Portable; "" = "default"
}

// Service makes a unit of this host out of a unit of a package in the guest.
//
//	errors  fs.ErrNotExist: the guest has no such unit; machine.ErrForeign
func Service(ctx context.Context, e Env, name, unit string, h Host, o ServiceOptions) (machine.Service, Enabled, error) {
	g, d, err := e.running(name, 0)
	if err != nil {
		return machine.Service{}, Enabled{}, err
	}
	tree, err := d.OpenTree()
	if err != nil {
		return machine.Service{}, Enabled{}, err
	}
	defer tree.Close()
	s, err := machine.MakeService(e.serviceOptions(g, d, tree.Name(), unit, h, o))
	if err != nil || o.Print {
		return s, Enabled{Guest: name, Unit: s.Name, Written: []string{}}, err
	}
	out, err := e.writeUnits(ctx, g, s.Files, Enabled{Guest: name, Unit: s.Name, Warnings: s.Notes})
	if err == nil {
		err = machine.MakeStateDirs(g.VarDir(), s.StateDirs)
	}
	return s, out, err
}

func (e Env) serviceOptions(g *deploy.Guest, d *deploy.Deployment, tree, unit string, h Host, o ServiceOptions) machine.ServiceOptions {
	h = h.orDefault()
	return machine.ServiceOptions{
		Guest: machineOf(g, d), Tree: tree, GuestDir: g.Dir(), StateRoot: e.Store.Root(), Program: h.Program, Unit: unit, UnitDir: h.UnitDir,
		Without: o.Without, Bind: o.Bind, AtBoot: o.AtBoot, Restart: o.Restart, WriteEtc: o.WriteEtc, Profile: o.Profile,
	}
}

// PortableService gives a unit of a package in the guest to systemd-portabled of this host, in its own words and with a
// profile's limits. Disable takes it back.
//
//	errors  fs.ErrNotExist: the guest has no such unit; machine.ErrForeign; sandbox.ErrNoProgram: no portablectl
func PortableService(ctx context.Context, e Env, name, unit string, h Host, o ServiceOptions) (Enabled, error) {
	g, d, err := e.running(name, 0)
	if err != nil {
		return Enabled{}, err
	}
	if o.Profile == "" {
		o.Profile = "default"
	}
	tree, err := d.OpenTree()
	if err != nil {
		return Enabled{}, err
	}
	defer tree.Close()
	p, err := machine.MakePortable(e.serviceOptions(g, d, tree.Name(), unit, h, o))
	if err != nil {
		return Enabled{}, err
	}
	out, err := e.writeUnits(ctx, g, p.Files, Enabled{Guest: name, Unit: p.Unit})
	if err != nil {
		return out, err
	}
	if err := p.Attach(ctx, machineOf(g, d), g.Dir(), o.Profile); err != nil {
		_, rerr := machine.RemoveHostFiles(g.Dir(), p.Unit)
		return Enabled{}, errors.Join(err, rerr)
	}
	return out, nil
}

// Services lists the names of the service units that a guest has.
func Services(e Env, name string) ([]string, error) {
	_, d, err := e.running(name, 0)
	if err != nil {
		return nil, err
	}
	tree, err := d.OpenTree()
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	return machine.ListServices(tree.Name())
}
