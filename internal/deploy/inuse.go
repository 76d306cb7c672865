// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// inode names a directory while it exists.
type inode struct{ dev, ino uint64 }

// roots are the root directories of all processes that this one may look at, and the folders of this host's mounts.
// A deployment that is among them is in use, whoever started that: chroot, systemd-nspawn, a RootDirectory= unit.
type roots struct {
	inodes map[inode]bool
	mounts []string        // what of its file system each mount shows
	names  map[string]bool // what mounts of images are called
}

// inUse looks at the processes and mounts of this moment.
//
//	source  linux Documentation/filesystems/proc.rst (root, mountinfo)
func inUse() roots {
	r := roots{inodes: map[inode]bool{}, names: map[string]bool{}}
	ents, _ := os.ReadDir("/proc") // no /proc: nothing to learn
	own, _ := inodeOf("/")
	seen := map[string]bool{}
	for _, e := range ents {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		if in, ok := inodeOf("/proc/" + e.Name() + "/root/."); ok && in != own {
			r.inodes[in] = true
		}
		if ns, err := os.Readlink("/proc/" + e.Name() + "/ns/mnt"); err == nil && !seen[ns] {
			seen[ns] = true
			r.addMounts("/proc/" + e.Name() + "/mountinfo")
		}
	}
	r.addMounts("/proc/self/mountinfo")
	return r
}

// inUseWhenAsked looks once, when it is asked first.
func inUseWhenAsked() func() roots { return sync.OnceValue(inUse) }

// addMounts takes a mount namespace's mounts. Of a deployment of images every place where it is mounted has its name.
func (r *roots) addMounts(table string) {
	data, _ := os.ReadFile(table)
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) > 4 && f[3] != "/" {
			r.mounts = append(r.mounts, f[3])
		}
		if _, after, ok := strings.Cut(line, " - overlay grove:"); ok {
			name, _, _ := strings.Cut(after, " ")
			r.names["grove:"+unescapeMount(name)] = true
		}
	}
}

func inodeOf(path string) (inode, bool) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return inode{}, false
	}
	return inode{uint64(st.Dev), st.Ino}, true
}

// uses reports whether a deployment's tree is among them.
func (r roots) uses(guest string, d Deployment) bool {
	if in, ok := inodeOf(d.Root()); ok && r.inodes[in] {
		return true
	}
	if r.names[mountName(d.dir)] {
		return true
	}
	tail := filepath.Join("/", guest, "deployments", strconv.Itoa(d.ID), "root")
	for _, m := range r.mounts {
		if strings.HasSuffix(m, tail) || strings.HasSuffix(m, tail+"/etc") {
			return true
		}
	}
	return false
}
