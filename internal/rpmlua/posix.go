// SPDX-License-Identifier: Apache-2.0

package rpmlua

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	lua "github.com/yuin/gopher-lua"
	"golang.org/x/sys/unix"
)

// openPosix fills the posix table with the functions of rpm's (rpm 4.18, "rpm --eval '%{lua:...}'" shows them).
func (m *machine) openPosix() {
	path := func(name string, f func(path string) error) call {
		return func(l *lua.LState) ([]lua.LValue, error) {
			p, err := argString(l, 1, name)
			if err != nil {
				return nil, err
			}
			return result(p, f(p))
		}
	}
	t := m.table("posix", map[string]call{
		"mkdir":  path("mkdir", func(p string) error { return unix.Mkdir(p, 0o777) }),
		"rmdir":  path("rmdir", unix.Rmdir),
		"unlink": path("unlink", os.Remove),
		"chdir":  path("chdir", unix.Chdir),
		"mkfifo": path("mkfifo", func(p string) error { return unix.Mkfifo(p, 0o777) }),
		"access": m.access, "stat": m.stat, "readlink": m.readlink, "symlink": m.symlink, "link": m.link,
		"dir": m.dir, "chmod": m.chmod, "chown": m.chown, "utime": m.utime, "umask": m.umask,
		"mkstemp": m.mkstemp, "getcwd": m.getcwd, "uname": m.uname,
		"getpasswd": m.getpasswd, "getgroup": m.getgroup, "getprocessid": m.getprocessid,
		"getenv": m.osGetenv, "setenv": m.setenv, "unsetenv": m.unsetenv, "putenv": m.putenv,
		"exec": m.exec, "fork": m.posixFork, "wait": m.wait, "kill": m.kill, "sleep": m.sleep,
		"redirect2null": m.redirect2null, "errno": m.errno,
		"setuid": m.setID("setuid", unix.Setuid), "setgid": m.setID("setgid", unix.Setgid),
		"times": m.times, "sysconf": m.sysconf, "pathconf": m.pathconf,
		"ctermid":  func(*lua.LState) ([]lua.LValue, error) { return ok(lua.LString("/dev/tty")) },
		"getlogin": func(*lua.LState) ([]lua.LValue, error) { return ok(lua.LNil) },
		"ttyname":  func(*lua.LState) ([]lua.LValue, error) { return ok(lua.LNil) },
	})
	t.RawSetString("files", m.l.NewFunction(m.filesIterator))
	t.RawSetString("version", lua.LString("posix library for Lua 5.1"))
}

// result is 0 or the usual three values of a failure.
func result(name string, err error) ([]lua.LValue, error) {
	if err != nil {
		return failed(name, err)
	}
	return ok(lua.LNumber(0))
}

func (m *machine) access(l *lua.LState) ([]lua.LValue, error) {
	p, err := argString(l, 1, "access")
	if err != nil {
		return nil, err
	}
	var mode uint32
	for _, c := range l.OptString(2, "f") {
		bit, known := map[rune]uint32{'r': unix.R_OK, 'w': unix.W_OK, 'x': unix.X_OK, 'f': unix.F_OK, ' ': 0}[c]
		if !known {
			return nil, badArgument(2, "access", "invalid mode")
		}
		mode |= bit
	}
	return result(p, unix.Access(p, mode))
}

func (m *machine) readlink(l *lua.LState) ([]lua.LValue, error) {
	p, err := argString(l, 1, "readlink")
	if err != nil {
		return nil, err
	}
	target, err := os.Readlink(p)
	if err != nil {
		return failed(p, err)
	}
	return ok(lua.LString(target))
}

func (m *machine) twoPaths(name string, f func(from, to string) error) call {
	return func(l *lua.LState) ([]lua.LValue, error) {
		from, err := argString(l, 1, name)
		if err != nil {
			return nil, err
		}
		to, err := argString(l, 2, name)
		if err != nil {
			return nil, err
		}
		return result("", f(from, to))
	}
}

func (m *machine) symlink(l *lua.LState) ([]lua.LValue, error) {
	return m.twoPaths("symlink", func(target, link string) error { return unix.Symlinkat(target, unix.AT_FDCWD, link) })(l)
}

func (m *machine) link(l *lua.LState) ([]lua.LValue, error) {
	return m.twoPaths("link", func(from, to string) error { return unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, to, 0) })(l)
}

func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := []string{".", ".."}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	sort.Strings(all) // the order of a directory must not reach what is made
	return all, nil
}

func (m *machine) dir(l *lua.LState) ([]lua.LValue, error) {
	dir := l.OptString(1, ".")
	all, err := names(dir)
	if err != nil {
		return failed(dir, err)
	}
	return ok(m.list(all))
}

// filesIterator goes through posix.dir, which is what is recorded.
func (m *machine) filesIterator(l *lua.LState) int {
	dir := l.OptString(1, ".")
	l.SetTop(0)
	l.Push(l.GetField(l.GetGlobal("posix"), "dir"))
	l.Push(lua.LString(dir))
	l.Call(1, 3)
	t, isTable := l.Get(1).(*lua.LTable)
	if !isTable {
		return 3
	}
	i := 0
	l.Push(l.NewFunction(func(l *lua.LState) int {
		i++
		l.Push(t.RawGetInt(i))
		return 1
	}))
	return 1
}

func (m *machine) chmod(l *lua.LState) ([]lua.LValue, error) {
	p, err := argString(l, 1, "chmod")
	if err != nil {
		return nil, err
	}
	text, err := argString(l, 2, "chmod")
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Stat(p, &st); err != nil {
		return failed(p, err)
	}
	mode, valid := parseMode(text, st.Mode&0o7777)
	if !valid {
		return nil, badArgument(2, "chmod", "bad mode")
	}
	return result(p, unix.Chmod(p, mode))
}

func (m *machine) umask(l *lua.LState) ([]lua.LValue, error) {
	old := uint32(unix.Umask(0))
	mode := ^old & 0o777
	if l.GetTop() > 0 {
		text, err := argString(l, 1, "umask")
		if err != nil {
			unix.Umask(int(old))
			return nil, err
		}
		asked, valid := parseMode(text, mode)
		if !valid {
			unix.Umask(int(old))
			return nil, badArgument(1, "umask", "bad mode")
		}
		mode = asked & 0o777
	}
	unix.Umask(int(^mode & 0o777))
	return ok(lua.LString(modeText(mode)))
}

// identity resolves a name or number of a user or group; nil and -1 leave the owner alone.
func identity(v lua.LValue, file string) (int, error) {
	switch v := v.(type) {
	case *lua.LNilType:
		return -1, nil
	case lua.LNumber:
		return int(v), nil
	case lua.LString:
		for _, fields := range accountLines(file) {
			if fields[0] == string(v) {
				return strconv.Atoi(fields[2])
			}
		}
		return -1, fmt.Errorf("unknown name %q", string(v))
	}
	return -1, fmt.Errorf("name or number expected, got %s", v.Type())
}

func (m *machine) chown(l *lua.LState) ([]lua.LValue, error) {
	p, err := argString(l, 1, "chown")
	if err != nil {
		return nil, err
	}
	uid, err := identity(l.Get(2), "passwd")
	if err != nil {
		return ok(lua.LNil, lua.LString(err.Error()), lua.LNumber(unix.EINVAL))
	}
	gid, err := identity(l.Get(3), "group")
	if err != nil {
		return ok(lua.LNil, lua.LString(err.Error()), lua.LNumber(unix.EINVAL))
	}
	return result(p, os.Chown(p, uid, gid))
}

func (m *machine) utime(l *lua.LState) ([]lua.LValue, error) {
	p, err := argString(l, 1, "utime")
	if err != nil {
		return nil, err
	}
	now := time.Now()
	at := func(n int) time.Time {
		if v, isNumber := l.Get(n).(lua.LNumber); isNumber {
			return time.Unix(int64(v), 0)
		}
		return now
	}
	return result(p, os.Chtimes(p, at(3), at(2)))
}

func (m *machine) mkstemp(l *lua.LState) ([]lua.LValue, error) {
	template, err := argString(l, 1, "mkstemp")
	if err != nil {
		return nil, err
	}
	head, found := strings.CutSuffix(template, "XXXXXX")
	if !found {
		return failed(template, unix.EINVAL)
	}
	f, err := os.CreateTemp(filepath.Dir(head+"x"), filepath.Base(head + "x")[:len(filepath.Base(head+"x"))-1]+"*")
	if err != nil {
		return failed(template, err)
	}
	return ok(lua.LString(f.Name()), m.fileOf(f))
}

func (m *machine) getcwd(*lua.LState) ([]lua.LValue, error) {
	dir, err := os.Getwd()
	if err != nil {
		return failed(".", err)
	}
	return ok(lua.LString(dir))
}

func (m *machine) setenv(l *lua.LState) ([]lua.LValue, error) {
	name, err := argString(l, 1, "setenv")
	if err != nil {
		return nil, err
	}
	v, err := argString(l, 2, "setenv")
	if err != nil {
		return nil, err
	}
	if _, set := os.LookupEnv(name); set && l.Get(3) == lua.LFalse {
		return ok(lua.LNumber(0))
	}
	return result(name, os.Setenv(name, v))
}

func (m *machine) unsetenv(l *lua.LState) ([]lua.LValue, error) {
	name, err := argString(l, 1, "unsetenv")
	if err != nil {
		return nil, err
	}
	_ = os.Unsetenv(name)
	return nil, nil
}

func (m *machine) putenv(l *lua.LState) ([]lua.LValue, error) {
	text, err := argString(l, 1, "putenv")
	if err != nil {
		return nil, err
	}
	name, v, _ := strings.Cut(text, "=")
	return result(name, os.Setenv(name, v))
}

// exec is for the child of a fork only, as in rpm.
func (m *machine) exec(l *lua.LState) ([]lua.LValue, error) {
	if !m.forked {
		return nil, errors.New("exec not permitted in this context")
	}
	argv := make([]string, 0, l.GetTop())
	for i := 1; i <= l.GetTop(); i++ {
		word, err := argString(l, i, "exec")
		if err != nil {
			return nil, err
		}
		argv = append(argv, word)
	}
	if len(argv) == 0 {
		return nil, badArgument(1, "exec", "string expected, got no value")
	}
	return failed(argv[0], syscall.Exec(search(argv[0]), argv, os.Environ()))
}

// search finds a program as execvp does.
func search(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if p := filepath.Join(dir, name); unix.Access(p, unix.X_OK) == nil {
			return p
		}
	}
	return name
}

func (m *machine) posixFork(*lua.LState) ([]lua.LValue, error) {
	pid, err := m.fork()
	if err != nil {
		return ok(lua.LNumber(-1), lua.LString(err.Error()))
	}
	return ok(lua.LNumber(pid))
}

func (m *machine) wait(l *lua.LState) ([]lua.LValue, error) {
	pid := int(l.OptNumber(1, -1))
	for {
		got, err := unix.Wait4(pid, nil, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return failed("", err)
		}
		return ok(lua.LNumber(got))
	}
}

func (m *machine) kill(l *lua.LState) ([]lua.LValue, error) {
	n, isNumber := l.Get(1).(lua.LNumber)
	if !isNumber {
		return nil, badArgument(1, "kill", "number expected")
	}
	return result("", unix.Kill(int(n), unix.Signal(l.OptNumber(2, lua.LNumber(unix.SIGTERM)))))
}

func (m *machine) sleep(l *lua.LState) ([]lua.LValue, error) {
	time.Sleep(time.Duration(float64(l.OptNumber(1, 0)) * float64(time.Second)))
	return ok(lua.LNumber(0))
}

func (m *machine) redirect2null(l *lua.LState) ([]lua.LValue, error) {
	if !m.forked {
		return nil, errors.New("redirect2null not permitted in this context")
	}
	null, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed("/dev/null", err)
	}
	defer unix.Close(null)
	return result("", unix.Dup3(null, int(l.OptNumber(1, 1)), 0))
}

func (m *machine) errno(*lua.LState) ([]lua.LValue, error) {
	return ok(lua.LString("Success"), lua.LNumber(0))
}

func (m *machine) setID(name string, f func(int) error) call {
	file := map[string]string{"setuid": "passwd", "setgid": "group"}[name]
	return func(l *lua.LState) ([]lua.LValue, error) {
		id, err := identity(l.Get(1), file)
		if err != nil {
			return ok(lua.LNil, lua.LString(err.Error()), lua.LNumber(unix.EINVAL))
		}
		return result("", f(id))
	}
}
