// SPDX-License-Identifier: Apache-2.0

package scriptlet

import (
	"bufio"
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"grove/internal/rpm"
	"grove/internal/rpmlua"
	"grove/internal/sandbox"
)

// The builtins that scriptlets need; a program that calls Run gives Builtins to sandbox.Child.
const (
	luaBuiltin  = "lua"
	forkBuiltin = "lua-fork"
	ownBuiltin  = "own"

	eraseBuiltin    = "erase"
	sysusersBuiltin = "sysusers"
)

// Builtins are what this package runs inside a sandbox, for sandbox.Child.
func Builtins() map[string]sandbox.Builtin {
	return map[string]sandbox.Builtin{luaBuiltin: luaMain, forkBuiltin: luaForked, ownBuiltin: ownMain, eraseBuiltin: eraseMain, sysusersBuiltin: sysusersMain}
}

// luaInput is what the lua builtin reads.
type luaInput struct {
	Name   string
	Script string
	Args   []string
	Files  []string
}

func encodeLua(in luaInput) []byte {
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(in); err != nil {
		panic("encode lua input: " + err.Error()) // a plain struct
	}
	return buf.Bytes()
}

func luaOptions() rpmlua.Options {
	return rpmlua.Options{Macros: macros, Fork: luaFork,
		Vercmp: func(a, b string) int { return rpm.ParseEVR(a).Compare(rpm.ParseEVR(b)) }}
}

func luaFork(state []byte, files []*os.File) (int, error) {
	return sandbox.Respawn(forkBuiltin, nil, state, files)
}

func luaMain(_ []string, stdin []byte) int {
	var in luaInput
	if err := gob.NewDecoder(bytes.NewReader(stdin)).Decode(&in); err != nil {
		return complain(err)
	}
	o := luaOptions()
	o.Name, o.Files = in.Name, in.Files
	o.Stdin = strings.NewReader(strings.Join(append(in.Files, ""), "\n"))
	return complain(rpmlua.Run(in.Script, in.Args, o))
}

func luaForked(_ []string, stdin []byte) int { return complain(rpmlua.Resume(stdin, luaOptions())) }

func complain(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// ownMain gives files their owners, modes and capabilities. Accounts are those that the root's files have by now.
func ownMain(_ []string, stdin []byte) int {
	var owners []Owner
	if err := gob.NewDecoder(bytes.NewReader(stdin)).Decode(&owners); err != nil {
		return complain(err)
	}
	users, groups := readIDs("passwd"), readIDs("group")
	warned := map[string]bool{}
	warn := func(text string) {
		if !warned[text] {
			warned[text] = true
			fmt.Println("warning: " + text)
		}
	}
	for _, o := range owners {
		uid, ok := users.id(o.User)
		if !ok {
			warn(fmt.Sprintf("user %s does not exist - using root", o.User))
		}
		gid, ok := groups.id(o.Group)
		if !ok {
			warn(fmt.Sprintf("group %s does not exist - using root", o.Group))
		}
		if err := setOwner(o, uid, gid); err != nil {
			if errors.Is(err, unix.ENOENT) {
				continue // a scriptlet took it away
			}
			return complain(fmt.Errorf("set owner of %s to %s:%s: %w", o.Path, o.User, o.Group, err))
		}
	}
	return 0
}

// setOwner changes what differs: each change copies the file into the overlay.
func setOwner(o Owner, uid, gid int) error {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Openat2(unix.AT_FDCWD, "/"+strings.TrimPrefix(o.Path, "/"), &how)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	isLink := st.Mode&unix.S_IFMT == unix.S_IFLNK
	// A change of owner clears set-id bits and capabilities, so these follow it.
	changed := int(st.Uid) != uid || int(st.Gid) != gid
	if changed {
		if err := unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	mode := o.Mode & 0o7777
	if isLink || o.Mode == 0 {
		return nil
	}
	path := "/proc/self/fd/" + strconv.Itoa(fd)
	if changed || st.Mode&0o7777 != mode {
		if err := unix.Chmod(path, mode); err != nil {
			return err
		}
	}
	if o.Caps == nil || o.Dir {
		return nil
	}
	have := make([]byte, 64)
	n, err := unix.Getxattr(path, "security.capability", have)
	if err == nil && bytes.Equal(have[:n], o.Caps) {
		return nil
	}
	return unix.Setxattr(path, "security.capability", o.Caps, 0)
}

// ids are names of users or groups.
type ids map[string]int

func (m ids) id(name string) (int, bool) {
	if name == "" || name == "root" {
		return 0, true
	}
	id, ok := m[name]
	return id, ok
}

// accountBytes limits what is read of an account file: a hundred thousand accounts.
const accountBytes = 16 << 20

// readIDs reads the accounts of the root; those of /etc win over those of /usr/lib (nss-altfiles).
func readIDs(file string) ids {
	out := ids{}
	for _, dir := range []string{"/usr/lib/", "/etc/"} {
		f, err := os.OpenFile(dir+file, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(io.LimitReader(f, accountBytes))
		for lines.Scan() {
			fields := strings.Split(lines.Text(), ":")
			if len(fields) < 4 || strings.HasPrefix(fields[0], "#") {
				continue
			}
			if n, err := strconv.ParseUint(fields[2], 10, 32); err == nil {
				out[fields[0]] = int(n)
			}
		}
		f.Close()
	}
	return out
}
