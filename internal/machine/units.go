// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"grove/internal/durable"
)

// HostFile is a file, or with Link a symbolic link, that a guest has on the host.
type HostFile struct {
	Path string
	Text string
	Link string
	Unit string // the service it belongs to; "" = the guest as a machine
	// Restart is a unit to be started again, where it runs, when the guest has another current deployment.
	Restart string `json:",omitempty"`
	// Attached is what portablectl was given: the tree, and the prefix of names of units.
	Attached []string `json:",omitempty"`
}

// ErrForeign says that a file of the host is in the way that grove did not write.
var ErrForeign = errors.New("was not written by grove")

// UnitOptions say how systemd runs a guest as a machine.
type UnitOptions struct {
	Name, GuestDir, StateRoot    string
	Program                      string
	UnitDir, NspawnDir, ImageDir string
	Network                      string
	PrivateUsers, AtBoot         bool
	Restart                      bool // at each change of the current deployment; else it stays until its next start
}

// header marks files as grove's.
const header = "# Written by grove for guest %s; grove disable %s takes it away.\n"

// GuestUnits is what the host gets so that machinectl and systemctl know the guest.
//
//	source  systemd man/systemd.nspawn.xml, units/systemd-nspawn@.service.in
func GuestUnits(o UnitOptions) ([]HostFile, error) {
	for _, p := range []string{o.Program, o.StateRoot, o.GuestDir} {
		if err := plainPath(p); err != nil {
			return nil, err
		}
	}
	network := ""
	kind, bridge, _ := strings.Cut(o.Network, ":")
	switch {
	case o.Network == "" || o.Network == "host":
		network = "# The host's network.\nPrivate=no\nVirtualEthernet=no\n"
	case o.Network == "none":
		network = "# A loopback of its own and nothing else.\nPrivate=yes\nVirtualEthernet=no\n"
	case o.Network == "veth":
		network = "# A pair of virtual interfaces, ve-" + o.Name + " on the host.\nVirtualEthernet=yes\n"
	case kind == "bridge" && bridge != "" && !strings.ContainsAny(bridge, " \t\n="):
		network = "# A virtual interface on a bridge of the host.\nBridge=" + bridge + "\n"
	default:
		return nil, fmt.Errorf("network %q: want host, veth, none or bridge:NAME", o.Network)
	}
	at := MountDirOf(o.GuestDir)
	users, idmap, flag := "# Ids inside are the host's.\nPrivateUsers=no\n", "", ""
	if o.PrivateUsers {
		users, idmap = "# Ids inside are mapped by the mounts; no file changes its owner. How depends on the deployment: grove boot says it.\n", ":idmap"
		flag = "--private-users "
	}
	nspawn := fmt.Sprintf(header, o.Name, o.Name) +
		"[Exec]\nBoot=yes\n# No devices but those that are there: one that root inside made could be the host's disk.\nDropCapability=CAP_MKNOD\n" + users + "\n[Files]\n# The tree is one of grove's and is never written to; /etc is the deployment's, /var the guest's.\nReadOnly=yes\n" +
		"Bind=" + bindPath(at.Etc) + ":/etc" + idmap + "\nBind=" + bindPath(filepath.Join(o.GuestDir, "var")) + ":/var" + idmap + "\n\n[Network]\n" + network
	unit := fmt.Sprintf(header, o.Name, o.Name) + `[Unit]
Description=Guest ` + o.Name + ` of grove
RequiresMountsFor=` + o.GuestDir + `

[Service]
# grove mounts the current deployment, holds it against gc, and starts systemd-nspawn, whose settings are in the .nspawn file.
# The running tree stays until the next start.
ExecStart=
ExecStart=` + o.Program + " --root " + o.StateRoot + " boot --unit " + flag + o.Name + `
NotifyAccess=all
`
	files := []HostFile{
		{Path: filepath.Join(o.NspawnDir, o.Name+".nspawn"), Text: nspawn},
		{Path: filepath.Join(o.UnitDir, "systemd-nspawn@"+o.Name+".service.d", "grove.conf"), Text: unit},
		{Path: filepath.Join(o.ImageDir, o.Name), Link: filepath.Join(o.GuestDir, "current/root")},
	}
	if o.Restart {
		files[1].Restart = "systemd-nspawn@" + o.Name + ".service"
	}
	if o.AtBoot {
		files = append(files, HostFile{Path: filepath.Join(o.UnitDir, "machines.target.wants", "systemd-nspawn@"+o.Name+".service"),
			Link: "/usr/lib/systemd/system/systemd-nspawn@.service"})
	}
	return files, nil
}

// plainPath refuses what a unit file would read as something else.
func plainPath(p string) error {
	if !filepath.IsAbs(p) || strings.ContainsAny(p, " \t\n\r\"'\\%$;") {
		return fmt.Errorf("path %q: units want an absolute path without blanks, quotes, %% or $", p)
	}
	return nil
}

// TimerUnits upgrade all guests of a state root from time to time.
func TimerUnits(program, stateRoot, unitDir, calendar string) ([]HostFile, error) {
	for _, p := range []string{program, stateRoot} {
		if err := plainPath(p); err != nil {
			return nil, err
		}
	}
	if calendar == "" || strings.ContainsAny(calendar, "\n\r") {
		return nil, fmt.Errorf("calendar %q: want what OnCalendar= takes, such as daily or \"Sun 04:00\"", calendar)
	}
	const mark = "# Written by grove; grove disable --upgrade-timer takes it away.\n"
	return []HostFile{
		{Path: filepath.Join(unitDir, "grove-upgrade.service"), Text: mark + `[Unit]
Description=Upgrade the guests of grove
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart=` + program + " --root " + stateRoot + ` --wait 10m upgrade --all
ExecStart=` + program + " --root " + stateRoot + ` --wait 10m gc
`},
		{Path: filepath.Join(unitDir, "grove-upgrade.timer"), Text: mark + `[Unit]
Description=Upgrade the guests of grove

[Timer]
OnCalendar=` + calendar + `
RandomizedDelaySec=15min
Persistent=yes

[Install]
WantedBy=timers.target
`},
		{Path: filepath.Join(unitDir, "timers.target.wants/grove-upgrade.timer"), Link: filepath.Join(unitDir, "grove-upgrade.timer")},
	}, nil
}

// recordName is the file, in the guest's folder, that says what is on the host.
const recordName = "host-files.json"

func readRecord(dir string) ([]HostFile, error) {
	data, err := os.ReadFile(filepath.Join(dir, recordName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []HostFile
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, recordName), err)
	}
	return list, nil
}

func writeRecord(dir string, list []HostFile) error {
	data, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, recordName), append(data, '\n'), 0o644)
}

// HostFiles lists the paths that grove wrote on the host for the guest in that folder.
func HostFiles(guestDir string) ([]string, error) {
	list, err := readRecord(guestDir)
	var out []string
	for _, f := range list {
		out = append(out, f.Path)
	}
	return out, err
}

// RestartUnits lists the units that are to be started again when another deployment is current.
func RestartUnits(guestDir string) ([]string, error) {
	list, err := readRecord(guestDir)
	var out []string
	for _, f := range list {
		if f.Restart != "" {
			out = append(out, f.Restart)
		}
	}
	return out, err
}

// WriteHostFiles writes them, replacing what grove wrote there before, and notes them in the guest's folder, the note
// first: what a kill leaves half done is known.
//
//	errors  ErrForeign: nothing was written then
func WriteHostFiles(guestDir string, files []HostFile) ([]string, error) {
	known, err := readRecord(guestDir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if _, err := os.Lstat(f.Path); err == nil && !slices.ContainsFunc(known, func(k HostFile) bool { return k.Path == f.Path }) {
			return nil, fmt.Errorf("write %s: the file that is there %w; remove it first", f.Path, ErrForeign)
		}
		known = slices.DeleteFunc(known, func(k HostFile) bool { return k.Path == f.Path })
	}
	known = append(known, files...)
	if err := writeRecord(guestDir, known); err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := durable.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
			return nil, err
		}
	}
	release, err := holdDirs(files)
	if err != nil {
		return nil, err
	}
	defer release()
	var out []string
	for _, f := range files {
		if f.Link != "" {
			err = durable.Swap(f.Path, f.Link)
		} else {
			err = durable.WriteFile(f.Path, []byte(f.Text), 0o644)
		}
		if err != nil {
			return out, err
		}
		out = append(out, f.Path)
	}
	return out, nil
}

// RemoveHostFiles removes what WriteHostFiles wrote: all of it, or what belongs to one unit. A file that was changed
// since is removed as well: it says whose it is.
func RemoveHostFiles(guestDir, unit string) ([]string, error) {
	known, err := readRecord(guestDir)
	if err != nil {
		return nil, err
	}
	release, err := holdDirs(known)
	if err != nil {
		return nil, err
	}
	defer release()
	var left []HostFile
	out := []string{}
	for _, f := range known {
		if unit != "" && f.Unit != unit {
			left = append(left, f)
			continue
		}
		err := durable.Remove(f.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return out, err
		}
		if d := filepath.Dir(f.Path); strings.HasSuffix(d, ".service.d") {
			_ = os.Remove(d) // if it is empty now
		}
		if err == nil {
			out = append(out, f.Path)
		}
	}
	if len(left) == 0 {
		err := durable.Remove(filepath.Join(guestDir, recordName))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return out, err
	}
	return out, writeRecord(guestDir, left)
}
