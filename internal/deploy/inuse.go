// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"grove/internal/sandbox"
)

// inode names a directory while it exists.
type inode struct{ dev, ino uint64 }

// roots are the root directories of all processes that this one may look at, and the folders of this host's mounts.
// A deployment that is among them is in use, whoever started that: chroot, systemd-nspawn, a RootDirectory= unit.
type roots struct {
	inodes map[inode]bool
	mounts map[place]bool  // what of which file system is mounted
	own    []mount         // the mounts of this process
	names  map[string]bool // what mounts of images are called
}

// place is a file in a file system, wherever that is mounted.
type place struct {
	device string // major:minor
	path   string // from the file system's root
}

// mount is where a place is seen.
type mount struct {
	place
	at string
}

// inUse looks at the processes and mounts of this moment.
//
//	source  linux Documentation/filesystems/proc.rst (root, mountinfo)
func inUse() roots {
	r := roots{inodes: map[inode]bool{}, mounts: map[place]bool{}, names: map[string]bool{}}
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
	r.own = r.addMounts("/proc/self/mountinfo")
	return r
}

// inUseWhenAsked looks once, when it is asked first.
func inUseWhenAsked() func() roots { return sync.OnceValue(inUse) }

// addMounts takes and gives a mount namespace's mounts. Of a deployment of images every place where it is mounted has its
// name.
func (r *roots) addMounts(table string) []mount {
	data, _ := os.ReadFile(table)
	var all []mount
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) > 4 {
			m := mount{place{f[2], sandbox.Unescape(f[3])}, sandbox.Unescape(f[4])}
			all = append(all, m)
			r.mounts[m.place] = true
		}
		if _, after, ok := strings.Cut(line, " - overlay grove:"); ok {
			name, _, _ := strings.Cut(after, " ")
			r.names["grove:"+sandbox.Unescape(name)] = true
		}
	}
	return all
}

// place says of which file system a path of this process is, and where in it; false where that cannot be told.
func (r roots) place(p string) (place, bool) {
	p, err := filepath.EvalSymlinks(p)
	if err != nil {
		return place{}, false
	}
	best := -1
	for i, m := range r.own { // of several at one path, or above it, the last covers the others
		if (p == m.at || m.at == "/" || strings.HasPrefix(p, m.at+"/")) && (best < 0 || len(m.at) >= len(r.own[best].at)) {
			best = i
		}
	}
	if best < 0 {
		return place{}, false
	}
	m := r.own[best]
	return place{m.device, path.Join(m.path, strings.TrimPrefix(p, m.at))}, true
}

func inodeOf(path string) (inode, bool) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return inode{}, false
	}
	return inode{uint64(st.Dev), st.Ino}, true
}

// uses reports whether a deployment's tree is among them.
func (r roots) uses(d Deployment) bool {
	if in, ok := inodeOf(d.Root()); ok && r.inodes[in] {
		return true
	}
	if r.names[mountName(d.dir)] {
		return true
	}
	at, ok := r.place(d.Root())
	return ok && (r.mounts[at] || r.mounts[place{at.device, at.path + "/etc"}])
}
