// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// devNodes are the devices of a contained /dev, with their numbers (Documentation/admin-guide/devices.txt).
var devNodes = []struct {
	name         string
	major, minor uint32
}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}}

var devLinks = [][2]string{
	{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"},
	{"/proc/kcore", "core"}, {"pts/ptmx", "ptmx"},
}

// openDevices clones the host's nodes where none can be made: in a user namespace.
func (b *builder) openDevices(mounts []Mount) (map[string]int, error) {
	needed := false
	for _, m := range mounts {
		needed = needed || m.Kind == Dev
	}
	if !needed || !b.spec.Rootless {
		return nil, nil
	}
	devices := map[string]int{}
	for _, n := range devNodes {
		fd, err := cloneMount(unix.AT_FDCWD, "/dev/"+n.name, false)
		if err != nil {
			return nil, fmt.Errorf("open /dev/%s: %w", n.name, err)
		}
		devices[n.name] = fd
	}
	return devices, nil
}

// fillDev puts nodes, links, pts and shm into the tmpfs dev.
func (b *builder) fillDev(dev int, devices map[string]int) error {
	for _, n := range devNodes {
		if fd, ok := devices[n.name]; ok {
			if err := mountFile(dev, n.name, fd); err != nil {
				return fmt.Errorf("bind %s: %w", n.name, err)
			}
			continue
		}
		err := unix.Mknodat(dev, n.name, unix.S_IFCHR|0o666, int(unix.Mkdev(n.major, n.minor)))
		if err == nil {
			err = unix.Fchmodat(dev, n.name, 0o666, 0)
		}
		if err != nil {
			return fmt.Errorf("make device %s: %w", n.name, err)
		}
	}
	for _, l := range devLinks {
		if err := unix.Symlinkat(l[0], dev, l[1]); err != nil {
			return fmt.Errorf("link %s: %w", l[1], err)
		}
	}
	for _, dir := range []string{"pts", "shm"} {
		if err := unix.Mkdirat(dev, dir, 0o755); err != nil {
			return fmt.Errorf("make %s: %w", dir, err)
		}
	}
	options := []string{"newinstance", "", "ptmxmode", "0666", "mode", "0620"}
	if !b.spec.Rootless {
		options = append(options, "gid", "5") // tty, in every distribution
	}
	pts, err := newFS("devpts", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, options...)
	if err != nil {
		return err
	}
	defer unix.Close(pts)
	shm, err := newFS("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, "mode", "1777", "size", "20%")
	if err != nil {
		return err
	}
	defer unix.Close(shm)
	if err := mountAt(pts, dev, "pts"); err != nil {
		return fmt.Errorf("mount pts: %w", err)
	}
	if err := mountAt(shm, dev, "shm"); err != nil {
		return fmt.Errorf("mount shm: %w", err)
	}
	return nil
}

func mountFile(dir int, name string, source int) error {
	fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	unix.Close(fd)
	return mountAt(source, dir, name)
}

func mountAt(source, dir int, name string) error {
	return unix.MoveMount(source, "", dir, name, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// Files of /proc through which root of a container would reach the host's kernel although it lacks capabilities:
// they are guarded by their owner only.
var (
	procReadOnly = []string{"sys", "sysrq-trigger", "irq", "bus", "fs"}
	procHidden   = []string{"kcore", "keys", "timer_list", "sched_debug", "latency_stats", "kallsyms", "kpagecount",
		"kpageflags", "kmsg"}
	procEmptied = []string{"acpi", "scsi", "asound"}
)

func (b *builder) maskProc(proc int) error {
	if b.spec.PIDs > 0 && ownPIDLimit() {
		if err := writeAt(proc, "sys/kernel/pid_max", strconv.Itoa(max(b.spec.PIDs, minPIDs))); err != nil {
			return fmt.Errorf("limit processes: %w", err)
		}
	}
	for _, name := range procReadOnly {
		fd, err := cloneMount(proc, name, true)
		if err == unix.ENOENT {
			continue
		}
		if err != nil {
			return fmt.Errorf("guard %s: %w", name, err)
		}
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr)
		if err == nil {
			err = mountAt(fd, proc, name)
		}
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("guard %s: %w", name, err)
		}
	}
	for _, name := range procHidden {
		if err := coverWith(proc, name, func() (int, error) { return cloneMount(unix.AT_FDCWD, "/dev/null", false) }); err != nil {
			return fmt.Errorf("hide %s: %w", name, err)
		}
	}
	for _, name := range procEmptied {
		empty := func() (int, error) {
			return newFS("tmpfs", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, "mode", "0555", "size", "4k")
		}
		if err := coverWith(proc, name, empty); err != nil {
			return fmt.Errorf("hide %s: %w", name, err)
		}
	}
	return nil
}

func coverWith(dir int, name string, source func() (int, error)) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil // not there: nothing to hide
	}
	fd, err := source()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return mountAt(fd, dir, name)
}

// minPIDs is the lowest limit that the kernel takes, with room for this process' own threads.
const minPIDs = 400

// ownPIDLimit says whether kernel.pid_max is that of the pid namespace; before, writing it would change the host's.
//
//	source  Linux 6.14, "pid: allow pid_max to be set per pid namespace"
func ownPIDLimit() bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false
	}
	var major, minor int
	n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	return n == 2 && (major > 6 || major == 6 && minor >= 14)
}

func writeAt(dir int, name, text string) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return err
}
