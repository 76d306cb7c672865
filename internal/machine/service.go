// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"grove/internal/accounts"
)

// ServiceOptions say which unit of a guest becomes one of the host.
type ServiceOptions struct {
	Guest               Guest
	Tree                string // where this process can read the guest's tree
	GuestDir, StateRoot string
	Program             string // path of grove, which mounts the tree when the service starts
	Unit                string // as the guest calls it; ".service" may be left out
	UnitDir             string // of the host
	Without             []string
	Bind                []string
	AtBoot              bool
	Restart             bool   // as in UnitOptions
	WriteEtc            bool   // the service may write to the deployment's /etc
	Profile             string // of MakePortable
}

// Service is a unit of the host made from one of a guest.
type Service struct {
	Name      string     `json:"name"`   // of the host's unit
	Text      string     `json:"text"`   // of the host's unit
	Source    string     `json:"source"` // the guest's unit with its drop-ins, for comparison
	Notes     []string   `json:"notes,omitempty"`
	Files     []HostFile `json:"-"`
	StateDirs []StateDir `json:"-"`
}

// StateDir is a folder below the guest's /var that the service wants, as its StateDirectory= and the like say.
type StateDir struct {
	Path     string // below /var
	UID, GID uint32
	Mode     fs.FileMode
}

// dropped are settings that mean nothing or something else on the host, with the reason where it is worth a note.
var dropped = map[string]string{
	"User": "", "Group": "", "SupplementaryGroups": "", "RootDirectory": "", "RootImage": "", "StateDirectory": "", "CacheDirectory": "",
	"LogsDirectory": "", "RuntimeDirectory": "", "ConfigurationDirectory": "", "StateDirectoryMode": "", "CacheDirectoryMode": "",
	"LogsDirectoryMode": "", "RuntimeDirectoryMode": "", "ConfigurationDirectoryMode": "", "PIDFile": "", "EnvironmentFile": "",
	"BusName": "it would take a name on the host's bus", "Sockets": "socket units of the guest are not carried over",
	"BindPaths": "it names paths of another host", "BindReadOnlyPaths": "it names paths of another host", "Slice": "",
	"TTYPath": "a service of a guest has no console", "StandardInput": "", "LoadCredential": "credentials come from the host",
	"PAMName": "it would use the host's PAM", "DynamicUser": "the guest's /var needs an owner that stays: it runs as root within the limits below",
	"ReadWritePaths": "", "ReadOnlyPaths": "", "InaccessiblePaths": "", "ExecPaths": "", "NoExecPaths": "",
}

// MakeService reads the guest's unit and makes the host's.
//
//	errors  fs.ErrNotExist: the guest has no such unit or user
//	source  systemd man/systemd.exec.xml (RootDirectory=), man/systemd.service.xml
func MakeService(o ServiceOptions) (Service, error) {
	name := o.Unit
	if path.Ext(name) == "" {
		name += ".service"
	}
	if !strings.HasSuffix(name, ".service") || strings.ContainsAny(name, "/ \n") || strings.HasPrefix(name, ".") {
		return Service{}, fmt.Errorf("unit %q: want the name of a service", o.Unit)
	}
	if strings.HasSuffix(name, "@.service") {
		return Service{}, fmt.Errorf("unit %q is a template: say which instance, as %sNAME.service", o.Unit, strings.TrimSuffix(name, ".service"))
	}
	for _, p := range []string{o.StateRoot, o.GuestDir, o.Program} {
		if err := plainPath(p); err != nil {
			return Service{}, err
		}
	}
	root, err := os.OpenRoot(o.Tree)
	if err != nil {
		return Service{}, err
	}
	defer root.Close()
	u, err := loadUnit(root, name)
	if err != nil {
		return Service{}, err
	}
	w := &serviceWriter{o: o, u: u, root: root, unit: name, host: "grove-" + o.Guest.Name + "-" + name}
	if err := w.write(); err != nil {
		return Service{}, fmt.Errorf("unit %s: %w", name, err)
	}
	s := Service{Name: w.host, Text: w.b.String(), Source: u.text(), Notes: w.notes, StateDirs: w.state}
	s.Files = []HostFile{
		{Path: filepath.Join(o.UnitDir, w.treeUnit()), Text: w.treeText(), Unit: w.host},
		{Path: filepath.Join(o.UnitDir, w.host), Text: s.Text, Unit: w.host},
	}
	if o.Restart {
		s.Files[1].Restart = w.host
	}
	if o.AtBoot {
		s.Files = append(s.Files, HostFile{Path: filepath.Join(o.UnitDir, "multi-user.target.wants", w.host),
			Link: filepath.Join(o.UnitDir, w.host), Unit: w.host})
	}
	return s, nil
}

// text writes a unit file out again.
func (u unitFile) text() string {
	var b strings.Builder
	section := ""
	for _, s := range u.settings {
		if s.section != section {
			section = s.section
			b.WriteString("[" + section + "]\n")
		}
		b.WriteString(s.key + "=" + s.value + "\n")
	}
	return b.String()
}

type serviceWriter struct {
	o     ServiceOptions
	u     unitFile
	root  *os.Root
	unit  string // the guest's
	host  string // the host's
	b     strings.Builder
	notes []string
	state []StateDir
	uid   uint32
	gid   uint32
}

func (w *serviceWriter) line(format string, args ...any) { fmt.Fprintf(&w.b, format+"\n", args...) }

func (w *serviceWriter) note(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

// runDir is the folder of the host that the service sees as /run.
func (w *serviceWriter) runDir() string { return "grove-run/" + strings.TrimSuffix(w.host, ".service") }

func (w *serviceWriter) write() error {
	if len(w.u.all("Service", "ExecStart")) == 0 && w.u.one("Service", "Type") != "oneshot" {
		return errors.New("it has no ExecStart=")
	}
	w.line(strings.TrimSuffix(header, "\n"), w.o.Guest.Name, w.o.Guest.Name)
	w.line("# %s of the guest, in the guest's tree. It follows an upgrade at its next start.", w.unit)
	w.unitSection()
	w.line("\n[Service]")
	w.tree()
	if err := w.identity(); err != nil {
		return err
	}
	if err := w.service(); err != nil {
		return err
	}
	w.mounts()
	if err := w.binds(); err != nil {
		return err
	}
	w.directories()
	if err := w.hardening(); err != nil {
		return err
	}
	w.line("\n[Install]\nWantedBy=multi-user.target")
	return checkLines(w.b.String())
}

// unitSection keeps the description and the order against targets that every host has.
func (w *serviceWriter) unitSection() {
	w.line("[Unit]")
	description := w.specifiers(w.u.one("Unit", "Description"))
	if description == "" {
		description = w.unit
	}
	w.line("Description=%s (guest %s)", description, w.o.Guest.Name)
	w.line("# Mounts the tree.\nRequires=%s\nAfter=%s", w.treeUnit(), w.treeUnit())
	for _, key := range []string{"After", "Wants", "Requires"} {
		var keep []string
		for _, v := range w.u.all("Unit", key) {
			for _, name := range strings.Fields(v) {
				if hostTargets[name] {
					keep = append(keep, name)
				}
			}
		}
		if len(keep) > 0 {
			w.line("%s=%s", key, strings.Join(keep, " "))
		}
	}
	for _, key := range []string{"StartLimitIntervalSec", "StartLimitBurst"} {
		if v := w.u.one("Unit", key); v != "" {
			w.line("%s=%s", key, v)
		}
	}
}

// hostTargets are units that mean the same on every host with systemd.
var hostTargets = map[string]bool{"network.target": true, "network-online.target": true, "nss-lookup.target": true, "nss-user-lookup.target": true,
	"remote-fs.target": true, "local-fs.target": true, "time-sync.target": true, "time-set.target": true, "sysinit.target": true, "basic.target": true}

// identity resolves the user by the guest's own files: the host may know the name with another number.
func (w *serviceWriter) identity() error {
	user, group := w.specifiers(w.u.one("Service", "User")), w.specifiers(w.u.one("Service", "Group"))
	db, err := w.accounts()
	if err != nil {
		return err
	}
	home := "/root"
	if user != "" {
		entry, ok := findUser(db, user)
		if !ok {
			return absentError{fmt.Sprintf("User=%s: the guest has no such user", user)}
		}
		w.uid, w.gid, home = uint32(entry.UID), uint32(entry.GID), entry.Home
	}
	if group != "" {
		gid, ok := findGroup(db, group)
		if !ok {
			return absentError{fmt.Sprintf("Group=%s: the guest has no such group", group)}
		}
		w.gid = gid
	}
	if user == "" && group == "" {
		return nil
	}
	w.line("# %s of the guest.", user)
	w.line("User=%d\nGroup=%d", w.uid, w.gid)
	var more []string
	for _, v := range w.u.all("Service", "SupplementaryGroups") {
		for _, name := range strings.Fields(v) {
			gid, ok := findGroup(db, name)
			if !ok {
				w.note("SupplementaryGroups=%s: the guest has no such group", name)
				continue
			}
			more = append(more, strconv.Itoa(int(gid)))
		}
	}
	if len(more) > 0 {
		w.line("SupplementaryGroups=%s", strings.Join(more, " "))
	}
	w.line("Environment=USER=%s LOGNAME=%s HOME=%s", user, user, home)
	return nil
}

// accounts are the guest's users and groups, those of /usr/lib behind those of /etc.
func (w *serviceWriter) accounts() (accounts.DB, error) {
	var dbs [2]accounts.DB
	for i, dir := range []string{"etc", "usr/lib"} {
		passwd, errP := readIn(w.root, dir+"/passwd")
		group, errG := readIn(w.root, dir+"/group")
		for _, err := range []error{errP, errG} {
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return accounts.DB{}, err
			}
		}
		db, err := accounts.Parse(accounts.Files{Passwd: []byte(passwd), Group: []byte(group)})
		if err != nil {
			return db, err
		}
		dbs[i] = db
	}
	return accounts.Merge(dbs[0], dbs[1]), nil
}

// findUser looks a name or number up.
func findUser(db accounts.DB, name string) (accounts.User, bool) {
	for _, u := range db.Users {
		if u.Name == name || strconv.FormatUint(uint64(u.UID), 10) == name {
			return u, true
		}
	}
	return accounts.User{}, false
}

func findGroup(db accounts.DB, name string) (uint32, bool) {
	for _, g := range db.Groups {
		if g.Name == name || strconv.FormatUint(uint64(g.GID), 10) == name {
			return uint32(g.GID), true
		}
	}
	return 0, false
}

// service copies what the unit says about its processes.
func (w *serviceWriter) service() error {
	given := w.hardeningKeys()
	for _, key := range w.u.keys("Service") {
		if reason, drop := dropped[key]; drop {
			w.leaveOut(key, reason)
			continue
		}
		if given[key] {
			continue // in the hardening below
		}
		if _, hardens := given[key]; !hardens && !slices.Contains(carried, key) {
			w.leaveOut(key, "it is none of those that act inside the guest's tree only")
			continue
		}
		for _, v := range w.u.all("Service", key) {
			if key == "Type" && v == "dbus" {
				w.line("# Type=dbus: it has no name on the host's bus.")
				v = "exec"
			}
			v, reason := carry(key, w.specifiers(v))
			if reason != "" {
				w.leaveOut(key, reason)
				continue
			}
			w.line("%s=%s", key, v)
		}
	}
	if pid := w.u.one("Service", "PIDFile"); pid != "" {
		if p := w.hostPath(w.specifiers(pid)); p != "" {
			w.line("PIDFile=%s", p)
		}
	}
	for _, v := range w.u.all("Service", "EnvironmentFile") {
		file, optional := strings.CutPrefix(w.specifiers(v), "-")
		variables, err := environmentFile(w.root, file, optional)
		if err != nil {
			return err
		}
		w.line("# As %s of the guest said when this unit was written.", file)
		for _, v := range variables {
			w.line("Environment=%s", v)
		}
	}
	return nil
}

// leaveOut says that a setting is not carried over, where there is something to say.
func (w *serviceWriter) leaveOut(key, reason string) {
	if reason != "" && w.u.one("Service", key) != "" {
		w.line("# %s= is left out: %s.", key, reason)
		w.note("%s= is left out: %s", key, reason)
	}
}

// hardeningKeys are those that the hardening decides on.
func (w *serviceWriter) hardeningKeys() map[string]bool {
	keys := map[string]bool{}
	for _, h := range append(slices.Clone(always), hardeningOf(w.u)...) {
		keys[h.key] = !slices.Contains(w.o.Without, h.key)
	}
	return keys
}

// hostPath is where the host finds a path of the service, "" where it cannot.
func (w *serviceWriter) hostPath(p string) string {
	p = path.Clean("/" + strings.TrimPrefix(p, "/"))
	p = strings.Replace(p, "/var/run/", "/run/", 1)
	switch {
	case strings.HasPrefix(p, "/run/"):
		return "/run/" + w.runDir() + strings.TrimPrefix(p, "/run")
	case strings.HasPrefix(p, "/var/"):
		return filepath.Join(w.o.GuestDir, p)
	}
	w.note("PIDFile=%s: not below /run or /var", p)
	return ""
}

// treeDir is where the tree is mounted while the service runs. RootDirectory= takes no path with a symbolic link in it.
func (w *serviceWriter) treeDir() string {
	return "/run/grove/" + strings.TrimSuffix(w.host, ".service")
}

// treeUnit is the unit that mounts the tree.
func (w *serviceWriter) treeUnit() string {
	return strings.Replace(w.host, "grove-", "grove-tree-", 1)
}

// treeText is that unit: it starts before the service and stops after it, so that each start takes what is current.
func (w *serviceWriter) treeText() string {
	grove := w.o.Program + " --root " + w.o.StateRoot
	return fmt.Sprintf(header, w.o.Guest.Name, w.o.Guest.Name) + `[Unit]
Description=Tree of guest ` + w.o.Guest.Name + ` for ` + w.unit + `
RequiresMountsFor=` + w.o.GuestDir + `
PartOf=` + w.host + `
StopWhenUnneeded=yes

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=` + grove + ` mount ` + w.o.Guest.Name + " " + w.treeDir() + `
ExecStop=` + grove + ` umount ` + w.treeDir() + `
`
}

// tree names the root.
func (w *serviceWriter) tree() {
	w.line("# The guest's tree as it is current at the start, with its /etc and /var; nobody can write through it.\nRootDirectory=%s\n", w.treeDir())
}

// mounts give the service what it needs besides the tree.
func (w *serviceWriter) mounts() {
	w.line("# A /run that goes with the service.\nBindPaths=/run/%s:/run", w.runDir())
	dirs := []string{w.runDir()}
	mode := "0755"
	var inside []string
	for _, name := range w.dirNames("RuntimeDirectory") {
		dirs = append(dirs, w.runDir()+"/"+name)
		inside = append(inside, "/run/"+name)
	}
	w.line("RuntimeDirectory=%s\nRuntimeDirectoryMode=%s", strings.Join(dirs, " "), mode)
	if len(inside) > 0 {
		w.line("Environment=RUNTIME_DIRECTORY=%s", strings.Join(inside, ":"))
	}
	w.line("# Logs go to the host's journal.\nBindReadOnlyPaths=-/run/systemd/journal:/run/systemd/journal -/dev/log")
	w.line("# Names are looked up as on the host.\nBindReadOnlyPaths=-/etc/resolv.conf")
	if w.o.WriteEtc {
		w.line("# The deployment's own /etc: asked for by --write-etc.")
		w.line("ReadWritePaths=+/var +/run +/etc")
		return
	}
	w.line("ReadWritePaths=+/var +/run")
}

// dirNames are the folders that a setting like RuntimeDirectory= names, without the links to them.
func (w *serviceWriter) dirNames(key string) []string {
	var out []string
	for _, v := range w.u.all("Service", key) {
		for _, name := range strings.Fields(w.specifiers(v)) {
			name, _, linked := strings.Cut(name, ":")
			if !plainDir(name) {
				w.note("%s=%s: not a plain name of a folder, and left out", key, name)
				continue
			}
			if linked {
				w.note("%s=%s: the link to it is not made", key, name)
			}
			out = append(out, name)
		}
	}
	return out
}

func (w *serviceWriter) binds() error {
	for _, text := range w.o.Bind {
		m, err := parseBind(text)
		if err != nil {
			return err
		}
		key := "BindPaths"
		if m.ReadOnly {
			key = "BindReadOnlyPaths"
		}
		w.line("%s=%s:%s", key, m.Source, m.Target)
	}
	return nil
}

// directories are made by grove in the guest's /var: systemd would make them on the host.
func (w *serviceWriter) directories() {
	for _, d := range []struct{ key, below string }{{"StateDirectory", "lib"}, {"CacheDirectory", "cache"}, {"LogsDirectory", "log"}} {
		mode := uint64(0o755)
		if v := w.u.one("Service", d.key+"Mode"); v != "" {
			if m, err := strconv.ParseUint(v, 8, 12); err == nil {
				mode = m
			}
		}
		var inside []string
		for _, name := range w.dirNames(d.key) {
			clean := path.Join("/", name)
			w.state = append(w.state, StateDir{Path: d.below + clean, UID: w.uid, GID: w.gid, Mode: fs.FileMode(mode)})
			inside = append(inside, "/var/"+d.below+clean)
		}
		if len(inside) > 0 {
			w.line("# Made in the guest's /var when this unit was written.\nEnvironment=%s=%s", environmentOf[d.key], strings.Join(inside, ":"))
		}
	}
}

var environmentOf = map[string]string{"StateDirectory": "STATE_DIRECTORY", "CacheDirectory": "CACHE_DIRECTORY", "LogsDirectory": "LOGS_DIRECTORY"}

func (w *serviceWriter) hardening() error {
	set := hardeningOf(w.u)
	for _, without := range w.o.Without {
		if without == "CapabilityBoundingSet" || slices.ContainsFunc(always, func(h hardening) bool { return h.key == without }) {
			return fmt.Errorf("--without %s: it keeps the service from writing into the tree, and stays", without)
		}
		if !slices.ContainsFunc(set, func(h hardening) bool { return h.key == without }) {
			return fmt.Errorf("--without %s: no such line", without)
		}
	}
	w.line("\n# What the service is kept from. grove service --without KEY leaves a line out.")
	for _, h := range append(slices.Clone(always), set...) {
		if slices.Contains(w.o.Without, h.key) {
			continue
		}
		own := w.u.all("Service", h.key)
		switch {
		case len(own) == 0 || h.key == "ProtectSystem" || h.key == "MountAPIVFS" || h.key == "CapabilityBoundingSet":
			w.line("# %s\n%s=%s", h.why, h.key, h.value)
		case weakens(h.key, own[len(own)-1]):
			w.note("%s=%s of the package is not followed: --without %s does", h.key, own[len(own)-1], h.key)
			w.line("# %s The package's %s is not followed.\n%s=%s", h.why, own[len(own)-1], h.key, h.value)
		default: // the package knows better; each value on a line of its own, as a ~ is for all of its line
			w.line("# %s The package's own choice.", h.why)
			for _, v := range own {
				w.line("%s=%s", h.key, v)
			}
		}
	}
	return nil
}

// specifiers puts the guest's unit name and instance in; the others mean the same on the host.
func (w *serviceWriter) specifiers(v string) string {
	if !strings.Contains(v, "%") {
		return v
	}
	instance, name := instanceOf(w.unit), w.unit
	prefix, _, _ := strings.Cut(strings.TrimSuffix(name, ".service"), "@")
	return strings.NewReplacer("%%", "%%", "%i", instance, "%I", strings.ReplaceAll(instance, "-", "/"), "%n", name,
		"%N", strings.TrimSuffix(name, ".service"), "%p", prefix).Replace(v)
}

// MakeStateDirs makes what is missing below a guest's /var; what is there stays as it is.
func MakeStateDirs(varDir string, dirs []StateDir) error {
	root, err := os.OpenRoot(varDir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, d := range dirs {
		if _, err := root.Lstat(d.Path); err == nil {
			continue
		}
		if err := root.MkdirAll(d.Path, 0o755); err != nil {
			return fmt.Errorf("make /var/%s: %w", d.Path, err)
		}
		if err := errors.Join(root.Chmod(d.Path, d.Mode), root.Lchown(d.Path, int(d.UID), int(d.GID))); err != nil {
			return fmt.Errorf("make /var/%s: %w", d.Path, err)
		}
	}
	return nil
}
