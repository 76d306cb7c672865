// SPDX-License-Identifier: Apache-2.0

package rpmlua

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	lua "github.com/yuin/gopher-lua"
	"golang.org/x/sys/unix"
)

func (m *machine) openOS() {
	// The library's own date and difftime are kept; they need the state that OpenOs leaves.
	m.l.Push(m.l.NewFunction(lua.OpenOs))
	m.l.Push(lua.LString(lua.OsLibName))
	m.l.Call(1, 0)
	theirs := m.l.GetGlobal("os").(*lua.LTable)
	date, clockTime, diff := theirs.RawGetString("date"), theirs.RawGetString("time"), theirs.RawGetString("difftime")
	t := m.table("os", map[string]call{
		"clock": func(*lua.LState) ([]lua.LValue, error) { return ok(lua.LNumber(cpuTime().Seconds())) },
		"date":  m.through(date), "time": m.through(clockTime),
		"execute": m.osExecute, "exit": m.osExit, "getenv": m.osGetenv, "remove": m.osRemove, "rename": m.osRename,
		"setlocale": func(*lua.LState) ([]lua.LValue, error) { return ok(lua.LString("C")) },
		"tmpname":   m.osTmpname,
	})
	t.RawSetString("difftime", diff)
}

// through calls a function of the interpreter's own library, so that its answer is recorded.
func (m *machine) through(f lua.LValue) call {
	return func(l *lua.LState) ([]lua.LValue, error) {
		n := l.GetTop()
		l.Push(f)
		for i := 1; i <= n; i++ {
			l.Push(l.Get(i))
		}
		if err := l.PCall(n, 1, nil); err != nil {
			var api *lua.ApiError
			if errors.As(err, &api) {
				return nil, errors.New(api.Object.String())
			}
			return nil, err
		}
		return ok(l.Get(-1))
	}
}

func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (m *machine) osExecute(l *lua.LState) ([]lua.LValue, error) {
	if l.GetTop() == 0 {
		return ok(lua.LBool(unix.Access("/bin/sh", unix.X_OK) == nil))
	}
	text, err := argString(l, 1, "execute")
	if err != nil {
		return nil, err
	}
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", text}, childAttr())
	if err != nil {
		return ok(lua.LNil, lua.LString("exit"), lua.LNumber(127))
	}
	return exitValues(waitStatus(pid))
}

func childAttr() *syscall.ProcAttr {
	return &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}}
}

func waitStatus(pid int) unix.WaitStatus {
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, 0, nil); err != unix.EINTR {
			return status
		}
	}
}

// exitValues is what 5.2 and later return for a finished program.
func exitValues(status unix.WaitStatus) ([]lua.LValue, error) {
	how, code := "exit", status.ExitStatus()
	if status.Signaled() {
		how, code = "signal", int(status.Signal())
	}
	success := lua.LValue(lua.LNil)
	if how == "exit" && code == 0 {
		success = lua.LTrue
	}
	return ok(success, lua.LString(how), lua.LNumber(code))
}

var errNotForked = errors.New("exit not permitted in this context")

// osExit is for the child of a fork only, as in rpm.
func (m *machine) osExit(l *lua.LState) ([]lua.LValue, error) {
	if !m.forked {
		return nil, errNotForked
	}
	code := 0
	switch v := l.Get(1).(type) {
	case lua.LNumber:
		code = int(v) & 255
	case lua.LBool:
		if !bool(v) {
			code = 1
		}
	}
	m.closeAll()
	os.Exit(code) // here and now: a pcall in the script must not catch it
	return nil, nil
}

func (m *machine) osGetenv(l *lua.LState) ([]lua.LValue, error) {
	name, err := argString(l, 1, "getenv")
	if err != nil {
		return nil, err
	}
	return ok(envValue(name))
}

func envValue(name string) lua.LValue {
	if v, set := os.LookupEnv(name); set {
		return lua.LString(v)
	}
	return lua.LNil
}

func (m *machine) osRemove(l *lua.LState) ([]lua.LValue, error) {
	name, err := argString(l, 1, "remove")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(name); err != nil {
		return failed(name, err)
	}
	return ok(lua.LTrue)
}

func (m *machine) osRename(l *lua.LState) ([]lua.LValue, error) {
	from, err := argString(l, 1, "rename")
	if err != nil {
		return nil, err
	}
	to, err := argString(l, 2, "rename")
	if err != nil {
		return nil, err
	}
	// A script's rename is the script's own; nothing of grove's is made durable by it.
	if err := syscall.Rename(from, to); err != nil {
		return failed(from, err)
	}
	return ok(lua.LTrue)
}

func (m *machine) osTmpname(*lua.LState) ([]lua.LValue, error) {
	f, err := os.CreateTemp("/tmp", "lua_")
	if err != nil {
		return nil, errors.New("unable to generate a unique filename")
	}
	f.Close()
	return ok(lua.LString(f.Name()))
}

// failed is Lua's way to say that a call did not work: nil, text, number.
func failed(name string, err error) ([]lua.LValue, error) {
	var number syscall.Errno
	text := err.Error()
	if errors.As(err, &number) {
		text = number.Error()
		text = upperFirst(text)
	} else if errors.Is(err, fs.ErrNotExist) {
		number, text = unix.ENOENT, "No such file or directory"
	}
	if name != "" {
		text = name + ": " + text
	}
	return ok(lua.LNil, lua.LString(text), lua.LNumber(number))
}

// upperFirst makes Go's spelling of an error the C library's.
func upperFirst(text string) string {
	if text == "" {
		return text
	}
	return string(text[0]&^0x20) + text[1:]
}

func argString(l *lua.LState, n int, function string) (string, error) {
	switch v := l.Get(n).(type) {
	case lua.LString:
		return string(v), nil
	case lua.LNumber:
		return v.String(), nil
	case *lua.LNilType:
		return "", badArgument(n, function, "string expected, got no value")
	default:
		return "", badArgument(n, function, "string expected, got "+v.Type().String())
	}
}
