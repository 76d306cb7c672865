// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// user is who a command runs as, looked up in the files of the new root.
type user struct {
	uid, gid          uint32
	name, home, shell string
	groups            []uint32
}

// accountBytes limits what is read of an account file: a hundred thousand users.
const accountBytes = 16 << 20

// lookUser finds NAME, UID or UID:GID in /etc and /usr/lib (nss-altfiles); "" is root.
func lookUser(spec string) (user, error) {
	name, group, hasGroup := strings.Cut(spec, ":")
	if name == "" {
		name = "0"
	}
	u := user{name: name, home: "/", shell: "/bin/sh"}
	id, numeric := parseID(name)
	u.uid = id
	found := false
	eachAccount("passwd", 7, func(f []string) bool {
		uid, ok := parseID(f[2])
		if !ok || (f[0] != name && (!numeric || uid != id)) {
			return true
		}
		gid, ok := parseID(f[3])
		if !ok {
			return true
		}
		found = true
		u.uid, u.gid, u.name = uid, gid, f[0]
		u.home, u.shell = firstOf(f[5], "/"), firstOf(f[6], "/bin/sh")
		return false
	})
	switch {
	case !found && !numeric:
		return user{}, fmt.Errorf("the guest has no user %q", name)
	case !found && id == 0:
		u.name, u.home = "root", "/root"
	case !found:
		u.gid = id
	}
	if err := u.findGroups(group, hasGroup); err != nil {
		return user{}, err
	}
	return u, nil
}

func (u *user) findGroups(group string, wanted bool) error {
	gid, numeric := parseID(group)
	found := !wanted
	eachAccount("group", 4, func(f []string) bool {
		id, ok := parseID(f[2])
		if !ok {
			return true
		}
		if wanted && !found && (f[0] == group || numeric && id == gid) {
			u.gid, found = id, true
		}
		if slices.Contains(strings.Split(f[3], ","), u.name) && !slices.Contains(u.groups, id) {
			u.groups = append(u.groups, id)
		}
		return true
	})
	if wanted && !found {
		if !numeric {
			return fmt.Errorf("the guest has no group %q", group)
		}
		u.gid = gid
	}
	if !slices.Contains(u.groups, u.gid) {
		u.groups = append([]uint32{u.gid}, u.groups...)
	}
	return nil
}

// eachAccount goes through the lines of both places of an account file until f says no.
func eachAccount(file string, fields int, f func([]string) bool) {
	for _, dir := range []string{"/etc/", "/usr/lib/"} {
		in, err := os.OpenFile(dir+file, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if st, err := in.Stat(); err != nil || !st.Mode().IsRegular() {
			in.Close()
			continue
		}
		lines := bufio.NewScanner(io.LimitReader(in, accountBytes))
		for lines.Scan() {
			parts := strings.Split(lines.Text(), ":")
			if len(parts) == fields && !f(parts) {
				in.Close()
				return
			}
		}
		in.Close()
	}
}
