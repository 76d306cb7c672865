// SPDX-License-Identifier: Apache-2.0

// Package rpmlua runs the Lua that RPM scriptlets are written in: Lua 5.1 with what scriptlets use of 5.4, and the
// rpm and posix tables of rpm's embedded interpreter.
//
// It changes the machine it runs on, so it belongs inside a sandbox, in a process of its own. It knows no packages: the
// comparison of versions and the macros are the caller's. rpm.open, rpm.call, rpm.load, rpm.register,
// rpm.interactive, rpm.splitargs and rpm.unsplitargs, which serve the making of macros, do not exist.
//
// posix.fork has no fork(2) behind it, which a Go program does not survive. The child is a new process that runs the
// script again from its start, with every call that looks at or changes the world answered from the parent's record,
// until it reaches the fork; from there on it is on its own. So a script must be deterministic between such calls,
// which Lua is.
package rpmlua

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// Options are what a script is given.
type Options struct {
	Name    string            // chunk name in messages: "%post(bash-5.2-1.x86_64)"
	Stdout  io.Writer         // nil = os.Stdout
	Stderr  io.Writer         // nil = os.Stderr
	Stdin   io.Reader         // nil = empty
	Files   []string          // what rpm.next_file returns, one after another
	Macros  map[string]string // for rpm.expand
	Vercmp  func(a, b string) int
	Fork    func(state []byte, files []*os.File) (pid int, err error) // start a process that calls Resume; files from descriptor 3 on
	StateFD int                                                       // first descriptor of the files in Resume; 0 = 3
}

// Error is a script that failed, by error() or by a fault in it.
type Error struct {
	Name string
	Text string // with position, without traceback
}

func (e *Error) Error() string { return fmt.Sprintf("lua script failed: %s", e.Text) }

// Limits of a script: a stack like rpm's, no more than a scriptlet can need.
const (
	callStackSize = 1024
	registrySize  = 16 << 10
	registryMax   = 1 << 20
)

// Run runs a script with the arguments that rpm gives it: args[0] becomes arg[1] and is "<lua>" for rpm; numbers
// become numbers.
//
//	errors  *Error when the script itself fails
func Run(script string, args []string, o Options) error {
	m := newMachine(script, args, o)
	return m.run()
}

// state is what a forked child gets.
type state struct {
	Script  string
	Args    []string
	Name    string
	Files   []string
	Macros  map[string]string
	Records []record
	Open    []int // ids of the open files, in order of their descriptors
	NextID  int
}

// Resume is the child of a fork: it runs the script up to the fork from the record, and goes on from there. Of o it
// takes the streams, Vercmp, Fork and StateFD.
func Resume(data []byte, o Options) error {
	var s state
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&s); err != nil {
		return fmt.Errorf("read state of the script: %w", err)
	}
	o.Name, o.Files, o.Macros = s.Name, s.Files, s.Macros
	m := newMachine(s.Script, s.Args, o)
	m.replay = s.Records
	m.forked = true
	first := o.StateFD
	if first == 0 {
		first = 3
	}
	m.inherited = map[int]*os.File{}
	for i, id := range s.Open {
		m.inherited[id] = os.NewFile(uintptr(first+i), "lua file")
	}
	err := m.run()
	if err == nil {
		return &Error{o.Name, "no exec() called after fork() in lua scriptlet"}
	}
	return err
}

// machine is one running script.
type machine struct {
	script string
	args   []string
	o      Options
	l      *lua.LState

	records []record // everything that happened so far
	replay  []record // what is still to be answered from the record
	forked  bool     // this is the child of a fork

	files     map[int]*file
	inherited map[int]*os.File
	nextID    int
	macros    map[string]string
	nextFile  int
}

func newMachine(script string, args []string, o Options) *machine {
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	if o.Stdin == nil {
		o.Stdin = strings.NewReader("")
	}
	m := &machine{script: script, args: args, o: o, files: map[int]*file{}, macros: map[string]string{}}
	for k, v := range o.Macros {
		m.macros[k] = v
	}
	return m
}

func (m *machine) run() error {
	m.l = lua.NewState(lua.Options{CallStackSize: callStackSize, RegistrySize: registrySize, RegistryMaxSize: registryMax,
		SkipOpenLibs: true})
	defer m.l.Close()
	libs := []struct {
		name string
		open lua.LGFunction
	}{{"", lua.OpenBase}, {lua.TabLibName, lua.OpenTable}, {lua.StringLibName, lua.OpenString},
		{lua.MathLibName, lua.OpenMath}, {lua.CoroutineLibName, lua.OpenCoroutine}, {lua.DebugLibName, lua.OpenDebug}}
	for _, lib := range libs {
		m.l.Push(m.l.NewFunction(lib.open))
		m.l.Push(lua.LString(lib.name))
		m.l.Call(1, 0)
	}
	m.openShims()
	m.openIO()
	m.openOS()
	m.openPosix()
	m.openRPM()
	m.setArgs()
	chunk, err := m.l.Load(strings.NewReader(m.script), m.o.Name)
	if err != nil {
		return m.failure(err)
	}
	m.l.Push(chunk)
	err = m.l.PCall(0, 0, nil)
	m.closeAll()
	if err != nil {
		return m.failure(err)
	}
	return nil
}

func (m *machine) failure(err error) error {
	text := err.Error()
	var api *lua.ApiError
	if errors.As(err, &api) && api.Object != nil && api.Object != lua.LNil {
		text = api.Object.String()
	}
	text, _, _ = strings.Cut(text, "\nstack traceback:")
	return &Error{m.o.Name, strings.TrimSpace(text)}
}

// setArgs fills arg and opt.
func (m *machine) setArgs() {
	t := m.l.NewTable()
	for i, a := range m.args {
		if n, err := strconv.Atoi(a); err == nil && i > 0 {
			t.RawSetInt(i+1, lua.LNumber(n))
			continue
		}
		t.RawSetInt(i+1, lua.LString(a))
	}
	m.l.SetGlobal("arg", t)
	m.l.SetGlobal("opt", m.l.NewTable())
}

// fork records the fork and starts the child that goes on from it.
func (m *machine) fork() (int, error) {
	if m.o.Fork == nil {
		return 0, errors.New("fork is not possible here")
	}
	s := state{Script: m.script, Args: m.args, Name: m.o.Name, Files: m.o.Files, Macros: m.o.Macros,
		Records: append(append([]record{}, m.records...), record{Name: "posix.fork", Values: []value{{Kind: 'n'}}})}
	var open []*os.File
	for id := 0; id <= m.nextID; id++ {
		f, ok := m.files[id]
		if !ok || f.os == nil || f.closed {
			continue
		}
		f.settle()
		s.Open = append(s.Open, id)
		open = append(open, f.os)
	}
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(s); err != nil {
		return 0, fmt.Errorf("keep state of the script: %w", err)
	}
	return m.o.Fork(buf.Bytes(), open)
}
