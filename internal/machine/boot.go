// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
	"grove/internal/sandbox"
)

// Boot says how a guest is booted by systemd-nspawn.
type Boot struct {
	Network      string   // "host", "veth", "none", "bridge:NAME"; "" = host
	PrivateUsers bool     // the guest's root is nobody on the host: ids are mapped by the mounts, no file changes its owner
	Bind         []string // "HOST[:GUEST[:ro]]"
	Args         []string // further arguments of systemd-nspawn
	Unit         bool     // run by a systemd unit: machined and the .nspawn file have their say
	Bare         bool     // no machined and no D-Bus on this host
	Stdin        *os.File
	Stdout       *os.File
	Stderr       *os.File
}

// MountDir is where a guest's tree is mounted, below the guest's own folder and in a mount namespace of its own, for a
// program of the host that boots it. Root and Etc are apart, because nspawn takes the mounts below a root for its own.
type MountDir struct{ Root, Etc, Empty string }

// MountDirOf returns the places below a guest's folder.
func MountDirOf(guestDir string) MountDir {
	return MountDir{Root: filepath.Join(guestDir, "mnt/root"), Etc: filepath.Join(guestDir, "mnt/etc"), Empty: filepath.Join(guestDir, "mnt/empty")}
}

// BootArgs is the command line of systemd-nspawn for a guest.
//
//	errors  a network or bind that is not understood
//	source  systemd man/systemd-nspawn.xml
func BootArgs(g Guest, at MountDir, b Boot) ([]string, error) {
	args := []string{"systemd-nspawn", "--quiet", "--boot", "--keep-unit", "--machine=" + hostname(g.Name), "--directory=" + at.Root}
	if b.Unit {
		// All else is in the .nspawn file, where the admin may change it.
		args = append(args, "--settings=override", "--link-journal=try-guest")
		if b.PrivateUsers {
			args = append(args, usersArgs(g)...)
		}
		return args, nil
	}
	if b.Bare {
		args = append(args, "--register=no")
	}
	map_ := ""
	if b.PrivateUsers {
		args, map_ = append(args, usersArgs(g)...), ":idmap"
	}
	// A block device that root inside makes for itself would be the host's disk.
	args = append(args, "--settings=no", "--link-journal=no", "--drop-capability=CAP_MKNOD", "--read-only", "--bind="+bindPath(at.Etc)+":/etc"+map_, "--bind="+bindPath(g.Var)+":/var"+map_)
	network, err := networkArgs(b.Network)
	if err != nil {
		return nil, err
	}
	args = append(args, network...)
	for _, text := range b.Bind {
		m, err := parseBind(text)
		if err != nil {
			return nil, err
		}
		option := "--bind="
		if m.ReadOnly {
			option = "--bind-ro="
		}
		args = append(args, option+bindPath(m.Source)+":"+bindPath(m.Target))
	}
	return append(args, b.Args...), nil
}

// bindPath escapes what nspawn takes for the end of a path.
func bindPath(p string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(p)
}

// CheckNetwork tells whether networkArgs knows a choice of a network.
func CheckNetwork(network string) error {
	_, err := networkArgs(network)
	return err
}

// networkArgs turns the choice of a network into nspawn's options. With the host's network the guest gets the host's
// resolv.conf as well; with another its own.
func networkArgs(network string) ([]string, error) {
	kind, name, named := strings.Cut(network, ":")
	switch {
	case network == "" || network == "host":
		return []string{"--resolv-conf=bind-host"}, nil
	case network == "none":
		return []string{"--private-network", "--resolv-conf=off"}, nil
	case network == "veth":
		return []string{"--network-veth", "--resolv-conf=auto"}, nil
	case kind == "bridge" && named && name != "":
		return []string{"--network-bridge=" + name, "--resolv-conf=auto"}, nil
	}
	return nil, fmt.Errorf("network %q: want host, veth, none or bridge:NAME", network)
}

// HasSystemd reports whether systemd runs this host: without it there is no machined to register a guest with.
func HasSystemd() bool {
	st, err := os.Lstat("/run/systemd/system")
	return err == nil && st.IsDir()
}

// bootLock is the file, in the guest's folder, that is locked as long as the guest is booted.
const bootLock = "mnt/.booted"

// ErrBooted says that a guest is booted already, whatever deployment of it.
var ErrBooted = errors.New("it is booted already")

// RunBoot boots the guest and waits until it is off. The tree is mounted in a namespace of its own and is held
// against gc as long as it runs.
//
//	errors  ErrBooted; sandbox.ErrNoProgram, sandbox.ErrNotPermitted; durable.ErrBusy while the deployment is being removed
func RunBoot(ctx context.Context, g Guest, guestDir string, b Boot) (int, error) {
	at := MountDirOf(guestDir)
	for _, dir := range []string{at.Root, at.Etc, at.Empty} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return 127, fmt.Errorf("boot %s: %w", g.Name, err)
		}
	}
	if b.PrivateUsers && g.Image != nil {
		mapped := *g.Image
		ids, err := takeIDs(ctx, idLocks, guestDir)
		if err != nil {
			return 127, fmt.Errorf("boot %s: %w", g.Name, err)
		}
		defer ids.release()
		mapped.IDShift = ids.first
		g.Image = &mapped
	}
	argv, err := BootArgs(g, at, b)
	if err != nil {
		return 127, fmt.Errorf("boot %s: %w", g.Name, err)
	}
	if g.RunLock != "" {
		lock, err := durable.Acquire(ctx, g.RunLock, false, 0)
		if err != nil {
			return 127, fmt.Errorf("lock deployment of %s: %w", g.Name, err)
		}
		defer lock.Release()
	}
	// Two systems that write to one /var would ruin it.
	once, err := durable.Acquire(ctx, filepath.Join(guestDir, bootLock), true, 0)
	if errors.Is(err, durable.ErrBusy) {
		return 127, fmt.Errorf("boot %s: %w", g.Name, ErrBooted)
	}
	if err != nil {
		return 127, fmt.Errorf("boot %s: %w", g.Name, err)
	}
	defer once.Release()
	tree := g.tree(at.Root, at.Empty)
	if b.PrivateUsers && g.Image == nil {
		tree.Sealed = "" // an overlay cannot map ids; and in a user namespace nobody can take a mount's read-only flag away
	}
	code, err := sandbox.RunHost(sandbox.HostCommand{
		Argv: argv, Stdin: b.Stdin, Stdout: b.Stdout, Stderr: b.Stderr, Hold: once.File(),
		Mounts: []sandbox.HostMount{
			{Source: filepath.Join(g.Root, "etc"), At: at.Etc},
			tree,
		},
	})
	if err != nil {
		return code, fmt.Errorf("boot %s: %w", g.Name, err)
	}
	return code, nil
}

// usersArgs are for private users: nspawn maps a tree's mount, but an overlay can not be mapped by it, so the layers of one
// are mapped already and nspawn is told to which range.
func usersArgs(g Guest) []string {
	if g.Image == nil {
		return []string{"--private-users=pick", "--private-users-ownership=map"}
	}
	return []string{fmt.Sprintf("--private-users=%d:%d", g.Image.IDShift, sandbox.IDRange), "--private-users-ownership=off"}
}

// tree is the mount of the guest's tree, which nobody can write to.
func (g Guest) tree(at, empty string) sandbox.HostMount {
	if g.Image != nil {
		return sandbox.HostMount{Image: g.Image, At: at, ReadOnly: true}
	}
	return sandbox.HostMount{Source: g.Root, At: at, ReadOnly: true, Sealed: empty, Name: g.Label}
}

// MountTree mounts the guest's tree at dir for all processes of this host: sealed, with its /etc and the guest's /var. Below
// MountPlace only root gets there: the tree has programs with set-id bits, and its root can make more.
// What is mounted there by an earlier call goes away first; what others mounted there is left alone. dir is made where it is
// missing.
//
//	errors  sandbox.ErrNotPermitted; dir is no empty directory
func MountTree(g Guest, guestDir, dir string) error {
	at := MountDirOf(guestDir)
	if strings.HasPrefix(dir, MountPlace) {
		if err := os.Mkdir(filepath.Clean(MountPlace), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("mount %s: %w", g.Name, err)
		}
	}
	for _, d := range []string{dir, at.Empty} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("mount %s: %w", g.Name, err)
		}
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("mount %s: %w", g.Name, err)
	}
	for {
		ours, err := IsTree(dir)
		if err != nil {
			return fmt.Errorf("mount %s: %w", g.Name, err)
		}
		if !ours {
			break
		}
		if _, err := UnmountTree(dir); err != nil {
			return err
		}
	}
	if ents, err := os.ReadDir(dir); err != nil || len(ents) > 0 {
		return fmt.Errorf("mount %s on %s: want an empty folder", g.Name, dir)
	}
	err = sandbox.MountHost([]sandbox.HostMount{
		g.tree(dir, at.Empty),
		{Source: filepath.Join(g.Root, "etc"), At: filepath.Join(dir, "etc")},
		{Source: g.Var, At: filepath.Join(dir, "var")},
	})
	if err != nil {
		return fmt.Errorf("mount %s: %w", g.Name, err)
	}
	return nil
}

// MountPlace begins the path where a guest's tree is mounted for a person who names no folder.
const MountPlace = "/run/grove/"

// IsTree tells whether what is mounted on dir is a guest's tree.
func IsTree(dir string) (bool, error) {
	m, mounted, err := sandbox.MountedOn(dir)
	return mounted && m.Type == "overlay" && strings.HasPrefix(m.Source, sandbox.TreeMark), err
}

// UnmountTree takes away what MountTree mounted at dir, and tells whether there was something.
//
//	errors  dir shows a mount of others, which stays
func UnmountTree(dir string) (bool, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("unmount: %w", err)
	}
	m, mounted, err := sandbox.MountedOn(dir)
	switch ours, oerr := IsTree(dir); {
	case err != nil || oerr != nil:
		return false, fmt.Errorf("unmount %s: %w", dir, errors.Join(err, oerr))
	case !mounted:
		return false, nil
	case !ours:
		return false, fmt.Errorf("unmount %s: what is mounted there is %s (%s), and no tree of grove's", dir, m.Source, m.Type)
	}
	for _, d := range []string{filepath.Join(dir, "var"), filepath.Join(dir, "etc"), dir} {
		if err := sandbox.UnmountHost(d); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, fs.ErrNotExist) {
			return true, fmt.Errorf("unmount %s: %w", d, err)
		}
	}
	return true, nil
}
