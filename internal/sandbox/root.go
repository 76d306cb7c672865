// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// builder makes the new root inside the init process, before it enters it.
type builder struct {
	spec Spec
	root int // the new root's mount, attached
}

// enterRoot builds the root of spec in this process' own mount namespace and makes it "/".
func enterRoot(spec Spec) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	b := &builder{spec: spec, root: -1}
	mounts := spec.Mounts
	if !spec.Bare {
		mounts = append(defaultMounts(), mounts...)
	}
	// Everything of the host is opened before the root may cover it.
	sources := make([]int, len(mounts))
	for i, m := range mounts {
		fd, err := b.source(m)
		if err != nil {
			return err
		}
		sources[i] = fd
	}
	devices, err := b.openDevices(mounts)
	if err != nil {
		return err
	}
	if err := b.makeRoot(); err != nil {
		return err
	}
	for i, m := range mounts {
		if m.IfAbsent && b.present(m.Target) {
			continue
		}
		if err := b.place(m, sources[i], devices); err != nil {
			if m.Optional && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EROFS)) {
				continue
			}
			return fmt.Errorf("mount %s: %w", m.Target, err)
		}
	}
	return b.pivot()
}

// defaultMounts leave, with what others mount beside them, some of the memory to the host: pages of a tmpfs belong to no
// process, and killing those that are there frees none.
func defaultMounts() []Mount {
	return []Mount{
		{Kind: Proc, Target: "/proc"},
		{Kind: Dev, Target: "/dev"},
		{Kind: Tmpfs, Target: "/sys", ReadOnly: true, Options: "mode=0555,size=64k", Optional: true},
		{Kind: Tmpfs, Target: "/run", Options: "mode=0755,size=10%"},
		{Kind: Tmpfs, Target: "/tmp", Options: "mode=1777,size=25%"},
	}
}

// source makes the detached mount of a Bind, or -1 for the other kinds.
func (b *builder) source(m Mount) (int, error) {
	if m.Kind != Bind {
		return -1, nil
	}
	fd, err := cloneMount(unix.AT_FDCWD, m.Source, true)
	if m.Optional && errors.Is(err, unix.ENOENT) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("open %s to mount it: %w", m.Source, err)
	}
	return fd, nil
}

func cloneMount(dirfd int, name string, recursive bool) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	return unix.OpenTree(dirfd, name, flags)
}

// makeRoot mounts the new root on spec.Root itself, seen in this namespace only.
func (b *builder) makeRoot() (err error) {
	s := b.spec
	switch {
	case s.Upper != "":
		b.root, err = rootOverlay(s)
	case s.Image != nil:
		b.root, err = s.Image.open()
	default:
		b.root, err = cloneMount(unix.AT_FDCWD, s.Root, false)
	}
	if err != nil {
		return fmt.Errorf("open root %s: %w", s.Root, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV}
	if s.ReadOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(b.root, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("set attributes of root: %w", err)
	}
	if err := unix.MoveMount(b.root, "", unix.AT_FDCWD, s.Root, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach root %s: %w", s.Root, err)
	}
	return nil
}

// inRoot opens a path of the new root; links are followed inside it only.
func (b *builder) inRoot(name string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(b.root, name, &how)
		if err == unix.EAGAIN && try < 100 { // a rename somewhere on the way
			continue
		}
		return fd, err
	}
}

// present says whether a path is there and is not an empty file.
func (b *builder) present(name string) bool {
	fd, err := b.inRoot(path.Clean("/"+name), 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > 0)
}

// target opens a mount point, making what is missing.
func (b *builder) target(name string, dir bool) (int, error) {
	name = path.Clean("/" + name)
	fd, err := b.inRoot(name, 0)
	if err != unix.ENOENT || name == "/" {
		return fd, err
	}
	parent, err := b.target(path.Dir(name), true)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	base := path.Base(name)
	if link, err := readlink(parent, base); err == nil { // leads to nothing: make what it leads to
		return b.throughLink(name, link, dir)
	}
	if dir {
		if err = unix.Mkdirat(parent, base, 0o755); err == nil {
			err = unix.Fchmodat(parent, base, 0o755, 0)
		}
	} else {
		var file int
		file, err = unix.Openat(parent, base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
		if err == nil {
			unix.Close(file)
		}
	}
	if err != nil && err != unix.EEXIST {
		return -1, fmt.Errorf("the root has no %s, and it cannot be made: %w", name, err)
	}
	return b.inRoot(name, unix.O_NOFOLLOW)
}

// throughLink makes the missing target of a symbolic link, one step deep: a chain of dangling links is refused.
func (b *builder) throughLink(name, link string, dir bool) (int, error) {
	goal := link
	if !path.IsAbs(link) {
		goal = path.Join(path.Dir(name), link)
	}
	goal = path.Clean(goal)
	parent, err := b.target(path.Dir(goal), true)
	if err != nil {
		return -1, err
	}
	_, err = readlink(parent, path.Base(goal))
	unix.Close(parent)
	if err == nil {
		return -1, fmt.Errorf("%s is a chain of dangling links", name)
	}
	return b.target(goal, dir)
}

func readlink(dirfd int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dirfd, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// place mounts one thing.
func (b *builder) place(m Mount, source int, devices map[string]int) error {
	if m.Kind == Bind && source < 0 {
		return nil
	}
	var err error
	isDir := true
	switch m.Kind {
	case Bind:
		isDir, err = isDirectory(source)
	case Self:
		source, isDir, err = b.cloneSelf(m.Source)
	case Tmpfs:
		source, err = newTmpfs(m.Options)
	case Proc:
		source, err = newFS("proc", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	case Sys:
		source, err = newFS("sysfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_RDONLY)
	case Dev:
		source, err = newFS("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, "mode", "0755", "size", "65536k")
	default:
		err = fmt.Errorf("unknown kind of mount %d", m.Kind)
	}
	if err != nil {
		return err
	}
	defer unix.Close(source)
	attr := unix.MountAttr{}
	if m.Kind == Bind || m.Kind == Self {
		attr.Attr_set = unix.MOUNT_ATTR_NODEV
	}
	if m.ReadOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if attr.Attr_set != 0 {
		if err := unix.MountSetattr(source, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
			return fmt.Errorf("set attributes: %w", err)
		}
	}
	if err := b.attach(source, m.Target, isDir); err != nil {
		return err
	}
	switch m.Kind {
	case Dev:
		return b.fillDev(source, devices)
	case Proc:
		return b.maskProc(source)
	}
	return nil
}

func (b *builder) attach(source int, target string, dir bool) error {
	at, err := b.target(target, dir)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return moveTo(source, at)
}

func moveTo(source, at int) error {
	return unix.MoveMount(source, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// cloneSelf clones a part of the root itself; a missing directory is made.
func (b *builder) cloneSelf(name string) (fd int, dir bool, err error) {
	at, err := b.target(name, true)
	if err != nil {
		return -1, false, fmt.Errorf("open %s in root: %w", name, err)
	}
	defer unix.Close(at)
	if dir, err = isDirectory(at); err != nil {
		return -1, false, err
	}
	fd, err = cloneMount(at, "", false)
	return fd, dir, err
}

func isDirectory(fd int) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

// newFS gives a new detached file system; options are pairs.
func newFS(kind string, attrs int, options ...string) (int, error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", kind, err)
	}
	defer unix.Close(fs)
	_ = unix.FsconfigSetString(fs, "source", kind) // what df and mount show
	for i := 0; i+1 < len(options); i += 2 {
		if options[i+1] == "" {
			err = unix.FsconfigSetFlag(fs, options[i])
		} else {
			err = unix.FsconfigSetString(fs, options[i], options[i+1])
		}
		if err != nil {
			return -1, fmt.Errorf("%s option %s=%s: %w", kind, options[i], options[i+1], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("make %s: %w", kind, err)
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
}

func newTmpfs(options string) (int, error) {
	var pairs []string
	for _, o := range strings.Split(options, ",") {
		if key, value, _ := strings.Cut(o, "="); key != "" {
			pairs = append(pairs, key, value)
		}
	}
	return newFS("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, pairs...)
}

// pivot makes the new root "/" and lets go of the old one.
func (b *builder) pivot() error {
	if err := unix.Fchdir(b.root); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the host's root: %w", err)
	}
	unix.Close(b.root)
	return unix.Chdir("/")
}
