// SPDX-License-Identifier: Apache-2.0

package rpmlua

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	lua "github.com/yuin/gopher-lua"
	"golang.org/x/sys/unix"
)

// file is an open file of the script. Standard streams have no os file.
type file struct {
	id     int
	os     *os.File
	r      *bufio.Reader
	w      io.Writer
	pid    int // of a popen
	closed bool
	append bool
}

const fileType = "FILE*"

var errClosed = fmt.Errorf("attempt to use a closed file")

// settle makes the position of the descriptor that of the script, for a child to go on from.
func (f *file) settle() {
	if f.r == nil || f.os == nil || f.r.Buffered() == 0 {
		return
	}
	if _, err := f.os.Seek(-int64(f.r.Buffered()), io.SeekCurrent); err == nil {
		f.r.Reset(f.os)
	}
}

func (m *machine) openIO() {
	t := m.table("io", map[string]call{
		"open": m.ioOpen, "popen": m.ioPopen, "close": m.ioClose, "read": m.ioRead, "write": m.ioWrite, "type": m.ioType,
		"input": m.ioInput, "output": m.ioOutput, "tmpfile": m.ioTmpfile, "flush": m.nothing,
	})
	meta := m.l.NewTypeMetatable(fileType)
	methods := m.l.NewTable()
	for name, f := range map[string]call{"read": m.fileRead, "write": m.fileWrite, "close": m.fileClose,
		"seek": m.fileSeek, "flush": m.fileSelf, "setvbuf": m.fileTrue} {
		methods.RawSetString(name, m.world("file."+name, f))
	}
	methods.RawSetString("lines", m.l.NewFunction(m.fileLines))
	meta.RawSetString("__index", methods)
	meta.RawSetString("__tostring", m.l.NewFunction(func(l *lua.LState) int {
		f := m.toFile(l.Get(1))
		switch {
		case f == nil:
			l.Push(lua.LString("file"))
		case f.closed:
			l.Push(lua.LString("file (closed)"))
		default:
			l.Push(lua.LString(fmt.Sprintf("file (%d)", f.id)))
		}
		return 1
	}))
	t.RawSetString("lines", m.l.NewFunction(m.ioLines))
	t.RawSetString("stdin", m.userData(&file{r: bufio.NewReader(m.o.Stdin)}))
	t.RawSetString("stdout", m.userData(&file{w: m.o.Stdout}))
	t.RawSetString("stderr", m.userData(&file{w: m.o.Stderr}))
}

// userData registers a file and makes it a value.
func (m *machine) userData(f *file) *lua.LUserData {
	f.id = m.nextID
	m.nextID++
	m.files[f.id] = f
	u := m.l.NewUserData()
	u.Value = f
	m.l.SetMetatable(u, m.l.GetTypeMetatable(fileType))
	return u
}

// restoreFile gives the file that the record names: one that is known, or one that the parent had open.
func (m *machine) restoreFile(id int) lua.LValue {
	f, known := m.files[id]
	if !known {
		f = &file{id: id, os: m.inherited[id]}
		f.closed = f.os == nil
		if f.os != nil {
			f.r, f.w = bufio.NewReader(f.os), f.os
		}
		m.files[id] = f
		m.nextID = max(m.nextID, id+1)
	}
	u := m.l.NewUserData()
	u.Value = f
	m.l.SetMetatable(u, m.l.GetTypeMetatable(fileType))
	return u
}

func (m *machine) closeAll() {
	for _, f := range m.files {
		if f.os != nil && !f.closed {
			f.os.Close()
		}
	}
}

func (m *machine) toFile(v lua.LValue) *file {
	if u, isData := v.(*lua.LUserData); isData {
		if f, isFile := u.Value.(*file); isFile {
			return f
		}
	}
	return nil
}

func (m *machine) checkFile(l *lua.LState) (*file, error) {
	f := m.toFile(l.Get(1))
	if f == nil {
		return nil, badArgument(1, "file method", "FILE* expected")
	}
	if f.closed {
		return nil, errClosed
	}
	return f, nil
}

var openModes = map[string]int{"r": os.O_RDONLY, "w": os.O_WRONLY | os.O_CREATE | os.O_TRUNC,
	"a": os.O_WRONLY | os.O_CREATE | os.O_APPEND, "r+": os.O_RDWR, "w+": os.O_RDWR | os.O_CREATE | os.O_TRUNC,
	"a+": os.O_RDWR | os.O_CREATE | os.O_APPEND}

func (m *machine) openFile(name, mode string) (*lua.LUserData, error) {
	flags, known := openModes[strings.ReplaceAll(mode, "b", "")]
	if !known {
		return nil, badArgument(2, "open", "invalid mode")
	}
	o, err := os.OpenFile(name, flags, 0o666)
	if err != nil {
		return nil, err
	}
	return m.userData(&file{os: o, r: bufio.NewReader(o), w: o, append: flags&os.O_APPEND != 0}), nil
}

func (m *machine) ioOpen(l *lua.LState) ([]lua.LValue, error) {
	name, err := argString(l, 1, "open")
	if err != nil {
		return nil, err
	}
	u, err := m.openFile(name, l.OptString(2, "r"))
	if err != nil {
		return failed(name, err)
	}
	return ok(u)
}

func (m *machine) ioTmpfile(*lua.LState) ([]lua.LValue, error) {
	o, err := os.CreateTemp("", "lua_")
	if err != nil {
		return failed("", err)
	}
	os.Remove(o.Name())
	return ok(m.userData(&file{os: o, r: bufio.NewReader(o), w: o}))
}

func (m *machine) ioPopen(l *lua.LState) ([]lua.LValue, error) {
	text, err := argString(l, 1, "popen")
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return failed(text, err)
	}
	fds, mine, theirs := []uintptr{0, w.Fd(), 2}, r, w
	if strings.HasPrefix(l.OptString(2, "r"), "w") {
		fds, mine, theirs = []uintptr{r.Fd(), 1, 2}, w, r
	}
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", text}, &syscall.ProcAttr{Env: os.Environ(), Files: fds})
	theirs.Close()
	if err != nil {
		mine.Close()
		return failed("/bin/sh", err)
	}
	return ok(m.userData(&file{os: mine, r: bufio.NewReader(mine), w: mine, pid: pid}))
}

func (m *machine) ioType(l *lua.LState) ([]lua.LValue, error) {
	f := m.toFile(l.Get(1))
	switch {
	case f == nil:
		return ok(lua.LNil)
	case f.closed:
		return ok(lua.LString("closed file"))
	}
	return ok(lua.LString("file"))
}

// standard gives file 0 (stdin) or 1 (stdout), or what io.input and io.output put in their place.
func (m *machine) standard(l *lua.LState, name string) *file {
	return m.toFile(l.GetGlobal("io").(*lua.LTable).RawGetString(name))
}

func (m *machine) redirect(l *lua.LState, slot, mode string) ([]lua.LValue, error) {
	t := l.GetGlobal("io").(*lua.LTable)
	if name, isString := l.Get(1).(lua.LString); isString {
		u, err := m.openFile(string(name), mode)
		if err != nil {
			return nil, err
		}
		t.RawSetString(slot, u)
	} else if u, isData := l.Get(1).(*lua.LUserData); isData {
		t.RawSetString(slot, u)
	}
	return ok(t.RawGetString(slot))
}

func (m *machine) ioInput(l *lua.LState) ([]lua.LValue, error)  { return m.redirect(l, "stdin", "r") }
func (m *machine) ioOutput(l *lua.LState) ([]lua.LValue, error) { return m.redirect(l, "stdout", "w") }

func (m *machine) ioRead(l *lua.LState) ([]lua.LValue, error) {
	return readFormats(m.standard(l, "stdin"), l, 1)
}

func (m *machine) ioWrite(l *lua.LState) ([]lua.LValue, error) {
	return m.writeValues(m.standard(l, "stdout"), l, 1)
}

func (m *machine) ioClose(l *lua.LState) ([]lua.LValue, error) {
	if l.GetTop() == 0 {
		return ok(lua.LTrue)
	}
	return m.fileClose(l)
}

func (m *machine) nothing(*lua.LState) ([]lua.LValue, error)    { return nil, nil }
func (m *machine) fileTrue(*lua.LState) ([]lua.LValue, error)   { return ok(lua.LTrue) }
func (m *machine) fileSelf(l *lua.LState) ([]lua.LValue, error) { return ok(l.Get(1)) }

func (m *machine) fileRead(l *lua.LState) ([]lua.LValue, error) {
	f, err := m.checkFile(l)
	if err != nil {
		return nil, err
	}
	return readFormats(f, l, 2)
}

func (m *machine) fileWrite(l *lua.LState) ([]lua.LValue, error) {
	f, err := m.checkFile(l)
	if err != nil {
		return nil, err
	}
	values, err := m.writeValues(f, l, 2)
	if len(values) == 1 {
		return ok(l.Get(1))
	}
	return values, err
}

func (m *machine) writeValues(f *file, l *lua.LState, first int) ([]lua.LValue, error) {
	if f == nil || f.w == nil {
		return failed("", unix.EBADF)
	}
	f.settle()
	var text strings.Builder
	for i := first; i <= l.GetTop(); i++ {
		switch v := l.Get(i).(type) {
		case lua.LString, lua.LNumber:
			text.WriteString(v.String())
		default:
			return nil, badArgument(i-first+1, "write", "string expected, got "+v.Type().String())
		}
	}
	if _, err := io.WriteString(f.w, text.String()); err != nil {
		return failed("", err)
	}
	return ok(lua.LTrue)
}

func (m *machine) fileClose(l *lua.LState) ([]lua.LValue, error) {
	f, err := m.checkFile(l)
	if err != nil {
		return nil, err
	}
	f.closed = true
	if f.os != nil {
		err = f.os.Close()
	}
	if f.pid > 0 {
		return exitValues(waitStatus(f.pid))
	}
	if err != nil {
		return failed("", err)
	}
	return ok(lua.LTrue)
}

func (m *machine) fileSeek(l *lua.LState) ([]lua.LValue, error) {
	f, err := m.checkFile(l)
	if err != nil {
		return nil, err
	}
	if f.os == nil {
		return failed("", unix.ESPIPE)
	}
	whence, known := map[string]int{"set": io.SeekStart, "cur": io.SeekCurrent, "end": io.SeekEnd}[l.OptString(2, "cur")]
	if !known {
		return nil, badArgument(1, "seek", "invalid option")
	}
	f.settle()
	at, err := f.os.Seek(int64(l.OptNumber(3, 0)), whence)
	if err != nil {
		return failed("", err)
	}
	f.r.Reset(f.os)
	return ok(lua.LNumber(at))
}

// fileLines gives an iterator that calls the recorded read.
func (m *machine) fileLines(l *lua.LState) int {
	self := l.Get(1)
	read := l.GetField(self, "read")
	var formats []lua.LValue
	for i := 2; i <= l.GetTop(); i++ {
		formats = append(formats, l.Get(i))
	}
	l.Push(l.NewFunction(func(l *lua.LState) int {
		l.SetTop(0)
		l.Push(read)
		l.Push(self)
		for _, f := range formats {
			l.Push(f)
		}
		l.Call(1+len(formats), lua.MultRet)
		return l.GetTop()
	}))
	return 1
}

// ioLines is io.open and lines in one; a missing file is an error.
func (m *machine) ioLines(l *lua.LState) int {
	t := l.GetGlobal("io").(*lua.LTable)
	if l.GetTop() == 0 || l.Get(1) == lua.LNil {
		l.SetTop(0)
		l.Push(t.RawGetString("stdin"))
		return m.fileLines(l)
	}
	l.Push(t.RawGetString("open"))
	l.Push(l.Get(1))
	l.Call(1, 2)
	f, why := l.Get(-2), l.Get(-1)
	l.Pop(2)
	if f == lua.LNil {
		l.RaiseError("%s", why.String())
	}
	l.Replace(1, f)
	return m.fileLines(l)
}

// readFormats reads what the arguments from first on ask for: "l" (default), "L", "a", "n" or a number of bytes; a star
// before the letter is 5.1's spelling.
func readFormats(f *file, l *lua.LState, first int) ([]lua.LValue, error) {
	if f == nil || f.r == nil {
		return failed("", unix.EBADF)
	}
	if l.GetTop() < first {
		return ok(readLine(f.r, false))
	}
	var out []lua.LValue
	for i := first; i <= l.GetTop(); i++ {
		v, err := readFormat(f.r, l.Get(i))
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		if v == lua.LNil {
			break
		}
	}
	return out, nil
}

func readFormat(r *bufio.Reader, format lua.LValue) (lua.LValue, error) {
	if n, isNumber := format.(lua.LNumber); isNumber {
		buf := make([]byte, min(max(int(n), 0), maxString))
		got, err := io.ReadFull(r, buf)
		if got == 0 && err != nil {
			return lua.LNil, nil
		}
		return lua.LString(buf[:got]), nil
	}
	switch word := strings.TrimPrefix(format.String(), "*"); {
	case strings.HasPrefix(word, "l"):
		return readLine(r, false), nil
	case strings.HasPrefix(word, "L"):
		return readLine(r, true), nil
	case strings.HasPrefix(word, "a"):
		data, _ := io.ReadAll(io.LimitReader(r, maxString))
		return lua.LString(data), nil
	case strings.HasPrefix(word, "n"):
		var text string
		if _, err := fmt.Fscan(r, &text); err != nil {
			return lua.LNil, nil
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return lua.LNil, nil
		}
		return lua.LNumber(n), nil
	}
	return nil, badArgument(1, "read", "invalid format")
}

func readLine(r *bufio.Reader, keepEnd bool) lua.LValue {
	line, err := r.ReadString('\n')
	if err != nil && line == "" {
		return lua.LNil
	}
	if !keepEnd {
		line = strings.TrimSuffix(line, "\n")
	}
	return lua.LString(line)
}
