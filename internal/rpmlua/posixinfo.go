// SPDX-License-Identifier: Apache-2.0

package rpmlua

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"golang.org/x/sys/unix"
)

// modeText is a mode as "rwxr-xr-x", with s, S, t and T.
func modeText(mode uint32) string {
	text := []byte("rwxrwxrwx")
	for i := range text {
		if mode&(1<<(8-i)) == 0 {
			text[i] = '-'
		}
	}
	special := func(at int, bit uint32, set, unset byte) {
		if mode&bit == 0 {
			return
		}
		if text[at] == 'x' {
			text[at] = set
		} else {
			text[at] = unset
		}
	}
	special(2, 0o4000, 's', 'S')
	special(5, 0o2000, 's', 'S')
	special(8, 0o1000, 't', 'T')
	return string(text)
}

// parseMode reads "0755", "rwxr-xr-x" or "u+x,go-w" applied to old.
func parseMode(text string, old uint32) (uint32, bool) {
	if n, err := strconv.ParseUint(text, 8, 12); err == nil {
		return uint32(n), true
	}
	if len(text) == 9 && strings.IndexByte("r-", text[0]) >= 0 {
		return parseLongMode(text)
	}
	mode := old
	for _, clause := range strings.Split(text, ",") {
		at := strings.IndexAny(clause, "+-=")
		if at < 0 {
			return 0, false
		}
		who := uint32(0)
		for _, c := range clause[:at] {
			bits, known := map[rune]uint32{'u': 0o4700, 'g': 0o2070, 'o': 0o1007, 'a': 0o7777}[c]
			if !known {
				return 0, false
			}
			who |= bits
		}
		if who == 0 {
			who = 0o7777
		}
		what := uint32(0)
		for _, c := range clause[at+1:] {
			bits, known := map[rune]uint32{'r': 0o444, 'w': 0o222, 'x': 0o111, 's': 0o6000, 't': 0o1000}[c]
			if !known {
				return 0, false
			}
			what |= bits
		}
		switch clause[at] {
		case '+':
			mode |= who & what
		case '-':
			mode &^= who & what
		default:
			mode = mode&^who | who&what
		}
	}
	return mode, true
}

func parseLongMode(text string) (uint32, bool) {
	mode := uint32(0)
	for i := range 9 {
		bit := uint32(1) << (8 - i)
		special := map[int]uint32{2: 0o4000, 5: 0o2000, 8: 0o1000}[i]
		switch c := text[i]; {
		case c == '-':
		case c == "rwxrwxrwx"[i]:
			mode |= bit
		case special != 0 && (c == 's' || c == 't'):
			mode |= bit | special
		case special != 0 && (c == 'S' || c == 'T'):
			mode |= special
		default:
			return 0, false
		}
	}
	return mode, true
}

var typeNames = map[uint32]string{unix.S_IFREG: "regular", unix.S_IFDIR: "directory", unix.S_IFLNK: "link",
	unix.S_IFCHR: "character device", unix.S_IFBLK: "block device", unix.S_IFIFO: "fifo", unix.S_IFSOCK: "socket"}

// stat does not follow links, as rpm's.
func (m *machine) stat(l *lua.LState) ([]lua.LValue, error) {
	p, err := argString(l, 1, "stat")
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return failed(p, err)
	}
	kind := typeNames[st.Mode&unix.S_IFMT]
	if kind == "" {
		kind = "unknown"
	}
	fields := map[string]lua.LValue{
		"mode": lua.LString(modeText(st.Mode)), "_mode": lua.LNumber(st.Mode), "ino": lua.LNumber(st.Ino),
		"dev": lua.LNumber(st.Dev), "nlink": lua.LNumber(st.Nlink), "uid": lua.LNumber(st.Uid), "gid": lua.LNumber(st.Gid),
		"size": lua.LNumber(st.Size), "atime": lua.LNumber(st.Atim.Sec), "mtime": lua.LNumber(st.Mtim.Sec),
		"ctime": lua.LNumber(st.Ctim.Sec), "type": lua.LString(kind),
	}
	return m.pick(l, 2, fields)
}

// pick returns the fields that the arguments from n on name, or all of them as a table.
func (m *machine) pick(l *lua.LState, n int, fields map[string]lua.LValue) ([]lua.LValue, error) {
	if l.GetTop() < n {
		t := m.l.NewTable()
		for k, v := range fields {
			t.RawSetString(k, v)
		}
		return ok(t)
	}
	var out []lua.LValue
	for i := n; i <= l.GetTop(); i++ {
		v, known := fields[l.Get(i).String()]
		if !known {
			return nil, badArgument(i, "posix", "invalid option '"+l.Get(i).String()+"'")
		}
		out = append(out, v)
	}
	return out, nil
}

// uname formats by %m %n %r %s %v; the default shows all but the version's text.
func (m *machine) uname(l *lua.LState) ([]lua.LValue, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return failed("", err)
	}
	parts := map[byte]string{'m': unix.ByteSliceToString(u.Machine[:]), 'n': unix.ByteSliceToString(u.Nodename[:]),
		'r': unix.ByteSliceToString(u.Release[:]), 's': unix.ByteSliceToString(u.Sysname[:]), 'v': unix.ByteSliceToString(u.Version[:]), '%': "%"}
	format := l.OptString(1, "%s %n %r %v %m")
	var out strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			out.WriteByte(format[i])
			continue
		}
		i++
		part, known := parts[format[i]]
		if !known {
			return nil, badArgument(1, "uname", "unknown format option '"+string(format[i])+"'")
		}
		out.WriteString(part)
	}
	return ok(lua.LString(out.String()))
}

// accountBytes limits what is read of an account file.
const accountBytes = 16 << 20

// accountLines reads passwd or group of the root, those of nss-altfiles after those of /etc.
func accountLines(file string) [][]string {
	want := map[string]int{"passwd": 7, "group": 4}[file]
	var all [][]string
	for _, dir := range []string{"/etc/", "/usr/lib/"} {
		f, err := os.OpenFile(dir+file, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(io.LimitReader(f, accountBytes))
		for lines.Scan() {
			if fields := strings.Split(lines.Text(), ":"); len(fields) == want {
				all = append(all, fields)
			}
		}
		f.Close()
	}
	return all
}

// findAccount looks a name or a number up.
func findAccount(who lua.LValue, file string) []string {
	for _, fields := range accountLines(file) {
		if fields[0] == who.String() || who.Type() == lua.LTNumber && fields[2] == who.String() {
			return fields
		}
	}
	return nil
}

func number(text string) lua.LValue {
	n, err := strconv.Atoi(text)
	if err != nil {
		return lua.LNil
	}
	return lua.LNumber(n)
}

func (m *machine) getpasswd(l *lua.LState) ([]lua.LValue, error) {
	who := l.Get(1)
	if who == lua.LNil {
		who = lua.LNumber(os.Getuid())
	}
	f := findAccount(who, "passwd")
	if f == nil {
		return ok(lua.LNil)
	}
	return m.pick(l, 2, map[string]lua.LValue{"name": lua.LString(f[0]), "passwd": lua.LString(f[1]), "uid": number(f[2]),
		"gid": number(f[3]), "gecos": lua.LString(f[4]), "dir": lua.LString(f[5]), "shell": lua.LString(f[6])})
}

func (m *machine) getgroup(l *lua.LState) ([]lua.LValue, error) {
	f := findAccount(l.Get(1), "group")
	if f == nil {
		return ok(lua.LNil)
	}
	var members []string
	if f[3] != "" {
		members = strings.Split(f[3], ",")
	}
	t := m.list(members)
	t.RawSetString("name", lua.LString(f[0]))
	t.RawSetString("gid", number(f[2]))
	return ok(t)
}

func (m *machine) getprocessid(l *lua.LState) ([]lua.LValue, error) {
	return m.pick(l, 1, map[string]lua.LValue{"egid": lua.LNumber(os.Getegid()), "euid": lua.LNumber(os.Geteuid()),
		"gid": lua.LNumber(os.Getgid()), "uid": lua.LNumber(os.Getuid()), "pgrp": lua.LNumber(unix.Getpgrp()),
		"pid": lua.LNumber(os.Getpid()), "ppid": lua.LNumber(os.Getppid())})
}

func (m *machine) times(l *lua.LState) ([]lua.LValue, error) {
	var own, children unix.Rusage
	if err := errors.Join(unix.Getrusage(unix.RUSAGE_SELF, &own), unix.Getrusage(unix.RUSAGE_CHILDREN, &children)); err != nil {
		return nil, err
	}
	seconds := func(t unix.Timeval) lua.LValue { return lua.LNumber(float64(t.Nano()) / 1e9) }
	return m.pick(l, 1, map[string]lua.LValue{"utime": seconds(own.Utime), "stime": seconds(own.Stime),
		"cutime": seconds(children.Utime), "cstime": seconds(children.Stime), "elapsed": seconds(own.Utime)})
}

func (m *machine) sysconf(l *lua.LState) ([]lua.LValue, error) {
	return m.pick(l, 1, map[string]lua.LValue{"arg_max": lua.LNumber(2097152), "child_max": lua.LNumber(4096),
		"clk_tck": lua.LNumber(100), "ngroups_max": lua.LNumber(65536), "open_max": lua.LNumber(1024),
		"job_control": lua.LNumber(1), "saved_ids": lua.LNumber(1), "version": lua.LNumber(200809),
		"stream_max": lua.LNumber(16), "tzname_max": lua.LNumber(255)})
}

func (m *machine) pathconf(l *lua.LState) ([]lua.LValue, error) {
	return m.pick(l, 2, map[string]lua.LValue{"link_max": lua.LNumber(65000), "max_canon": lua.LNumber(255),
		"max_input": lua.LNumber(255), "name_max": lua.LNumber(255), "path_max": lua.LNumber(4096),
		"pipe_buf": lua.LNumber(4096), "chown_restricted": lua.LNumber(1), "no_trunc": lua.LNumber(1), "vdisable": lua.LNumber(0)})
}
