// SPDX-License-Identifier: Apache-2.0

package rpmlua_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"grove/internal/rpmlua"
)

const childName = "rpmlua-test-child"

func TestMain(m *testing.M) {
	if os.Args[0] == childName {
		data, err := io.ReadAll(os.Stdin)
		if err == nil {
			err = rpmlua.Resume(data, rpmlua.Options{Fork: fork, Vercmp: strings.Compare})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// out is where children write; nil is this process' stdout.
var out *os.File

func fork(state []byte, files []*os.File) (int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	to := uintptr(1)
	if out != nil {
		to = out.Fd()
	}
	fds := []uintptr{r.Fd(), to, to}
	for _, f := range files {
		fds = append(fds, f.Fd())
	}
	pid, err := syscall.ForkExec("/proc/self/exe", []string{childName}, &syscall.ProcAttr{Env: os.Environ(), Files: fds})
	if err == nil {
		_, err = w.Write(state)
	}
	w.Close()
	return pid, err
}

// run gives the output of a script, and of its children, with the error as last line.
func run(t *testing.T, script string, args ...string) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out = f
	defer func() { out = nil }()
	err = rpmlua.Run(script, append([]string{"<lua>"}, args...), rpmlua.Options{Name: "%pre(x)", Stdout: f, Stderr: f,
		Fork: fork, Vercmp: strings.Compare, Macros: map[string]string{"_bindir": "/usr/bin", "p": "%{_bindir}/p"}, Files: []string{"/a", "/b"}})
	data, _ := os.ReadFile(f.Name())
	if err != nil {
		return string(data) + "! " + err.Error() + "\n"
	}
	return string(data)
}

func TestScripts(t *testing.T) {
	dir := t.TempDir()
	tests := []struct{ name, script, want string }{
		{"arg", `print(#arg, arg[1], type(arg[2]), arg[2], type(opt))`, "2\t<lua>\tnumber\t1\ttable\n"},
		{"error", `print("a") error("FATAL: kernel too old", 0)`, "a\n! lua script failed: FATAL: kernel too old\n"},
		{"error with place", "\n\nerror('x')", "! lua script failed: %pre(x):3: x\n"},
		{"syntax", `if`, "! lua script failed: %pre(x) at EOF:   syntax error\n"},
		{"error object", `error({})`, "*"},
		{"nil call", `nope()`, "! lua script failed: %pre(x):1: attempt to call a non-function object\n"},
		{"return", `return 7`, ""},
		{"exit", `print(pcall(os.exit, 3))`, "false\t%pre(x):1: exit not permitted in this context\n"},
		{"exec", `print(pcall(posix.exec, "/bin/true"))`, "false\t%pre(x):1: exec not permitted in this context\n"},
		{"el7 bash post", `
			nl = '\n' sh = '/bin/sh'..nl bash = '/bin/bash'..nl
			for i = 1, 2 do
			f = io.open('shells', 'a+')
			if f then
			  local shells = nl..f:read('*all')..nl
			  if not shells:find(nl..sh) then f:write(sh) end
			  if not shells:find(nl..bash) then f:write(bash) end
			  f:close()
			end end
			io.write(io.open('shells'):read('a'))`, "/bin/sh\n/bin/bash\n"},
		{"lines", `for l in io.lines("shells") do io.write("<", l, ">") end for l in io.open("shells"):lines("L") do io.write(l) end`,
			"</bin/sh></bin/bash>/bin/sh\n/bin/bash\n"},
		{"missing lines", `print(pcall(io.lines, "nope"))`, "false\t%pre(x):1: nope: No such file or directory\n"},
		{"modes", `
			posix.mkdir("d") print(posix.chmod("d", 0711)) print(posix.stat("d", "mode")) posix.chmod("d", "u+s,g=rx,o-x") print(posix.stat("d").mode)
			posix.chmod("d", "rwxr-x---") print(posix.stat("d", "mode", "type")) print(posix.rmdir("d"))`,
			"0\nrwx--x--x\nrwsr-x---\nrwxr-x---\tdirectory\n0\n"},
		{"links", `print(posix.symlink("t", "l")) print(posix.readlink("l"), posix.stat("l", "type")) print(posix.unlink("l")) print(posix.stat("l"))
			print(posix.readlink("shells"))`,
			"0\nt\tlink\n0\nnil\tl: No such file or directory\t2\nnil\tshells: Invalid argument\t22\n"},
		{"access", `print(posix.access("shells", "rw"), (posix.access("nope")))`, "0\tnil\n"},
		{"dir", `for f in posix.files(".") do io.write(f, " ") end print(#posix.dir("."))`, ". .. shells 3\n"},
		{"execute", `print(os.execute("exit 3")) print(os.execute("true")) print(os.execute("kill -9 $$"))
			local p = io.popen("echo hi; exit 2") print(p:read("l"), p:close())`,
			"nil\texit\t3\ntrue\texit\t0\nnil\tsignal\t9\nhi\tnil\texit\t2\n"},
		{"rpm execute", `print(rpm.execute("/bin/sh", "-c", "exit 4")) print(rpm.execute("true"), (rpm.execute("/nope"))) print(rpm.spawn({"true"}, {stdout="/dev/null"}))`,
			"nil\texit\t4\n0\tnil\n0\n"},
		{"rpm", `print(rpm.vercmp("1","2"), rpm.ver("1") < rpm.ver("2"), rpm.ver("3:1-2").e, rpm.expand("%{p} %p %{nope} %{?nope}%{?p:y}%{!?nope:z}%%"))
			rpm.define("q 5") print(rpm.expand("%q"), rpm.isdefined("q")) print(rpm.b64encode("hello", 0), rpm.b64decode("aGVs\nbG8="))
			print(rpm.next_file(), rpm.next_file(), rpm.next_file())`,
			"-1\ttrue\t3\t/usr/bin/p /usr/bin/p %{nope} yz%\n5\ttrue\tfalse\naGVsbG8=\thello\n/a\t/b\tnil\n"},
		{"fork and exec", `
			if posix.access ("/bin/sh", "x") then
			  local pid = posix.fork ()
			  if pid == 0 then
			    posix.exec ("/bin/sh", "-c", "echo child of $1", "sh", "grove")
			  elseif pid ~= -1 then
			    print(posix.wait (pid) == pid)
			  end
			end
			print("end")`, "child of grove\ntrue\nend\n"},
		{"fork and exit", `
			io.write("before ")
			local pid = posix.fork()
			if pid == 0 then
			    pcall(function() io.stdout:write("child\n") os.exit(0) end)
			elseif pid > 0 then
			    posix.wait(pid)
			end
			print("parent")`, "before child\nparent\n"},
		{"fork without exec", `local pid = posix.fork() if pid > 0 then posix.wait(pid) print("done") end`,
			"lua script failed: no exec() called after fork() in lua scriptlet\ndone\n"},
		{"two forks, shared file", `
			local f = io.open("shared", "w+") f:write("one\ntwo\nthree\n") f:seek("set", 0)
			print(f:read("l"), math.random() == nil, os.getenv("NOPE"))
			for i = 1, 2 do
			  local pid = posix.fork()
			  if pid == 0 then print(i, f:read("l")) os.exit(i) end
			  posix.wait(pid)
			end
			print(f:read("a") == "") os.remove("shared")`, "*"},
		{"umask", `local old = posix.umask() print(posix.umask("rwxr-x---")) posix.umask(old)`, "rwxr-x---\n"},
		{"shims", `print(table.unpack({1, 2}), table.pack(3).n, load("return 5")(), ("x"):rep(2, ","), 3.0, 10/2)`, "1\t1\t5\tx,x\t3\t5\n"},
		{"accounts", `print(posix.getpasswd("root", "uid"), posix.getgroup("root").gid, posix.getpasswd("nobody-at-all"))`, "0\t0\tnil\n"},
		{"mkstemp", `local n, f = posix.mkstemp("tmpXXXXXX") f:write("x") f:close() print(#n, io.type(f)) os.remove(n)`, "*"},
		{"recursion", `local function f() return 1 + f() end f()`, "*"},
		{"memory", `string.rep("x", 1e12)`, "*"},
	}
	old, _ := os.Getwd()
	os.Chdir(dir)
	defer os.Chdir(old)
	for _, c := range tests {
		got := run(t, c.script, "1")
		if c.want == "*" {
			t.Logf("%s: %.300s", c.name, got)
		} else if got != c.want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
		}
	}
}

// TestRealRPM compares with the interpreter of the rpm that is installed.
func TestRealRPM(t *testing.T) {
	if _, err := exec.LookPath("rpm"); err != nil {
		if os.Getenv("GROVE_CI") == "1" {
			t.Fatal("needs rpm")
		}
		t.Skip("needs rpm")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	os.WriteFile(file, []byte("a\nb\n"), 0o640)
	scripts := []string{
		`print((posix.stat("FILE").mode))`, `print(posix.stat("FILE", "type"))`, `print(posix.stat("/nope"))`, `print((posix.access("/nope")))`,
		`print(posix.readlink("/nope"))`, `print(select(2, posix.mkdir("/etc")))`, `print(posix.uname("%s %m"))`, `print((posix.umask("rwxr-xr-x")))`,
		`print(posix.getpasswd("root", "shell"))`, `print(posix.getgroup("root").name)`, `print(posix.access("/bin/sh", "x") ~= nil)`,
		`print(os.execute("exit 3"))`, `print(io.popen("exit 2"):close())`, `print(rpm.b64decode("aGVsbG8="))`, `print(rpm.b64encode("hello"))`,
		`print(table.unpack({"x", "y"}))`,
		`print(io.open("FILE"):read("a"))`, `print(io.open("/nope"))`, `for l in io.lines("FILE") do io.write("<", l, ">") end`,
		`print(pcall(error, "x", 0))`, `print(string.format("%d %5.2f %q", 3, 1.5, "a"))`, `posix.chmod("FILE", "u+x,g-r") print(posix.stat("FILE", "mode"))`,
		`posix.chmod("FILE", "rw-r--r--") print(posix.stat("FILE", "mode"))`, `posix.chmod("FILE", 0755) print(posix.stat("FILE", "mode"))`,
		`print(("a,b"):gsub(",", ";"))`, `print(tostring(nil), #"abc", 7 % 3, 2^3 == 8)`, `print(os.getenv("NOPE"))`, `print(posix.setenv("A", "b") ~= nil, posix.getenv("A"))`,
		`print(os.remove("/nope"))`, `print(posix.getcwd())`,
	}
	// Debian's rpm pushes its numbers as floats.
	number := strings.NewReplacer(".0\t", "\t", ".0\n", "\n")
	for _, s := range scripts {
		s = strings.ReplaceAll(s, "FILE", file)
		os.Chmod(file, 0o640)
		cmd := exec.Command("rpm", "--eval", "%{lua: "+s+"}")
		want, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v %s", s, err, want)
		}
		os.Chmod(file, 0o640)
		var got bytes.Buffer
		if err := rpmlua.Run(s, []string{"<lua>"}, rpmlua.Options{Stdout: &got}); err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		g, w := number.Replace(strings.TrimSpace(got.String())+"\n"), number.Replace(strings.TrimSpace(string(want))+"\n")
		if g != w {
			t.Errorf("%s:\ngot %q\nrpm %q", s, g, w)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("%{a} %b %{?c:%{a}} %%")
	f.Fuzz(func(t *testing.T, text string) {
		rpmlua.Expand(text, map[string]string{"a": "%{b}", "b": "%a", "c": "1"})
	})
}
