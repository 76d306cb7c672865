// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestHostUntouched traces every process of a whole life cycle, and demands that nothing is opened for writing, made,
// renamed or removed outside of the state root, the repositories that were named, and the temporary folder.
//
// A process counts as inside a guest from its pivot_root on, with all that it starts: what it names from then on are
// paths of the guest's own mounts. Mounts may only be made by processes in a mount namespace of their own.
func TestHostUntouched(t *testing.T) {
	need(t, "strace")
	w := copse(t)
	s := newSite(t)
	if err := os.Mkdir(s.path("tmp"), 0o777); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"TMPDIR=" + s.path("tmp"), "HOME=/root"}
	mark := s.path("mark")
	write(t, mark, "")
	time.Sleep(20 * time.Millisecond) // of a file system with coarse times
	write(t, s.path("h.yaml"), "base: dist:"+w.Ref+"\npackages: [hello]\n")
	// Files of the host that enable and service write: in their own places, which are fine only for what they name.
	host := filepath.Join(t.TempDir(), "host")
	places := []string{"--unit-dir", host + "/units", "--nspawn-dir", host + "/nspawn", "--image-dir", host + "/machines"}
	trace := newTracer([]string{s.dir})
	writes, insides := 0, 0
	for i, args := range [][]string{
		{"compose", w.BaseManifest, "--repo", s.path("srv"), "--write-lock", s.path("lock.json")},
		{"remote", "add", "dist", "file://" + s.path("srv"), "--no-gpg-verify"},
		{"create", "g", "dist:" + w.Ref},
		{"install", "g", "hello", "greeter", "lua-post", "all-scripts"},
		{"run", "g", "--", "bash", "-c", "hello; id; echo x > /var/lib/x; echo y > /etc/y; echo z > /tmp/z"},
		{"compose", w.UpdatesManifest, "--repo", s.path("srv")},
		{"upgrade", "g", "--check"}, {"upgrade", "g", "--stage"}, {"finalize", "g"}, {"status", "g"}, {"diff", "g", "--changelogs"}, {"rollback", "g"},
		{"install", "g", "tool-in-opt", "--uninstall", "greeter"}, {"override", "remove", "g", "motd"}, {"override", "reset", "g"},
		{"rebase", "g", "dist:" + w.Ref}, {"apply", "h", s.path("h.yaml")}, {"apply", "h", s.path("h.yaml"), "--dry-run"}, {"pin", "g"}, {"unpin", "g"},
		{"retention", "g", "--keep", "2"}, {"search", "g", "hello"}, {"why", "g", "hello"}, {"history", "g"}, {"list"},
		append([]string{"enable", "g"}, places...), append([]string{"service", "g", "hello", "--at-boot"}, places[:2]...),
		{"service", "g", "hello", "--print"}, append([]string{"enable", "--upgrade-timer"}, places[:2]...),
		{"disable", "g"}, {"disable", "--upgrade-timer"}, {"upgrade", "--all"},
		{"fsck"}, {"delete", "g", "1", "--yes"}, {"delete", "g", "--yes"}, {"gc"},
	} {
		log := s.path(fmt.Sprintf("trace-%d", i))
		traced := s
		traced.prefix = []string{"strace", "-f", "-qq", "-y", "--pidns-translation", "-s", "4096", "-e", "signal=none", "-e", "trace=" + strings.Join(tracedCalls, ","), "-o", log}
		if args[0] == "run" {
			traced.env = append(traced.env, "PATH=/usr/sbin:/usr/bin")
		}
		trace.named = wrote.FindAllStringSubmatch(traced.grove(args...), -1)
		n, in := trace.read(t, args[0], read(t, log))
		writes, insides = writes+n, insides+in
	}
	for i, f := range trace.faults {
		if i == 30 {
			t.Errorf("and %d more", len(trace.faults)-i)
			break
		}
		t.Error(f)
	}
	// A tracer that sees nothing proves nothing.
	if writes < 1000 || insides < 50 {
		t.Errorf("only %d writes of grove and %d calls inside a guest were seen", writes, insides)
	}
	t.Logf("%d writes, all in place; %d calls inside a guest", writes, insides)
	// The same by looking at the disk, where nobody else is likely to write meanwhile.
	if out := tool(t, "find", "/etc", "/boot", "/usr", "/opt", "/srv", "-xdev", "-newer", mark, "-not", "-name", "__pycache__", "-not", "-name", "*.pyc"); out != "" {
		t.Errorf("written on the host:\n%s", out)
	}
}

var tracedCalls = []string{"%file", "%process", "fchmod", "fchown", "ftruncate", "fsetxattr", "fremovexattr", "move_mount", "fchdir", "setns"}

// wrote finds what enable, service and disable say.
var wrote = regexp.MustCompile(`(?m)^(?:wrote|removed) (/.*)$`)

// tracer follows processes through the lines of strace -f.
type tracer struct {
	allowed []string
	named   [][]string // files of the host that the command named, with what it said of them
	faults  []string
	group   map[string]string // thread -> process
	inside  map[string]bool   // process -> it has pivoted into a guest
	own     map[string]bool   // process -> it has a mount namespace of its own
	pending map[string]string // thread -> the begun call
}

func newTracer(allowed []string) *tracer { return &tracer{allowed: allowed} }

var (
	traceLine    = regexp.MustCompile(`^(\d+) +(.*)$`)
	traceCall    = regexp.MustCompile(`^(\w+)\((.*)\) += (-?\d+|\?|0x[0-9a-f]+)(.*)$`)
	traceChild   = regexp.MustCompile(`/\* (\d+) in strace's PID NS \*/`)
	traceResumed = regexp.MustCompile(`^<\.\.\. \w+ resumed>(.*)$`)
	traceArg     = regexp.MustCompile(`(AT_FDCWD|\d+)(?:<((?:[^>\\]|\\.)*)>)?, "((?:[^"\\]|\\.)*)"|"((?:[^"\\]|\\.)*)"|^\d+<((?:[^>\\]|\\.)*)>`)
)

// read judges the trace of one command and counts the writes in place and the calls inside a guest.
func (tr *tracer) read(t *testing.T, verb, text string) (writes, insides int) {
	t.Helper()
	tr.group, tr.inside, tr.own, tr.pending = map[string]string{}, map[string]bool{}, map[string]bool{}, map[string]string{}
	// A child's first calls may be told before the call that made it: they wait until its parent is known.
	known, waiting := map[string]bool{}, map[string][]string{}
	var judge func(pid, line, rest string)
	judge = func(pid, line, rest string) {
		if begun, ok := strings.CutSuffix(rest, " <unfinished ...>"); ok {
			tr.pending[pid] = begun
			return
		}
		if r := traceResumed.FindStringSubmatch(rest); r != nil {
			rest = tr.pending[pid] + r[1]
			delete(tr.pending, pid)
		}
		c := traceCall.FindStringSubmatch(rest)
		if c == nil || strings.HasPrefix(c[3], "-") {
			return
		}
		w, in, child := tr.call(pid, c[1], c[2], c[3]+c[4], verb+": "+line)
		writes, insides = writes+w, insides+in
		if child == "" {
			return
		}
		known[child] = true
		early := waiting[child]
		delete(waiting, child)
		for _, line := range early {
			m := traceLine.FindStringSubmatch(line)
			judge(child, line, m[2])
		}
	}
	for _, line := range strings.Split(text, "\n") {
		m := traceLine.FindStringSubmatch(line)
		switch {
		case m == nil:
		case len(known) > 0 && !known[m[1]]:
			waiting[m[1]] = append(waiting[m[1]], line)
		default:
			known[m[1]] = true
			judge(m[1], line, m[2])
		}
	}
	for pid := range waiting {
		tr.fault("nobody made process "+pid, waiting[pid][0])
	}
	return writes, insides
}

func (tr *tracer) process(thread string) string {
	if g, ok := tr.group[thread]; ok {
		return g
	}
	return thread
}

// call judges one call that succeeded.
//
//	child  the process or thread that it made, if it made one
func (tr *tracer) call(pid, name, args, result, line string) (writes, insides int, child string) {
	p := tr.process(pid)
	switch name {
	case "clone", "clone3", "fork", "vfork":
		child = regexp.MustCompile(`^\d+`).FindString(result)
		if c := traceChild.FindStringSubmatch(result); c != nil {
			child = c[1]
		}
		if strings.Contains(args, "CLONE_THREAD") {
			tr.group[child] = p
			return 0, 0, child
		}
		tr.inside[child] = tr.inside[child] || tr.inside[p]
		tr.own[child] = tr.own[child] || tr.own[p] || strings.Contains(args, "CLONE_NEWNS")
		return 0, 0, child
	case "unshare":
		tr.own[p] = tr.own[p] || strings.Contains(args, "CLONE_NEWNS")
		return 0, 0, ""
	case "pivot_root":
		if !tr.own[p] {
			tr.fault("pivot_root in the host's mount namespace", line)
		}
		tr.inside[p] = true
		return 0, 0, ""
	case "mount", "umount2", "move_mount":
		if !tr.own[p] {
			tr.fault("mounts in the host's mount namespace", line)
		}
		return 0, 0, ""
	}
	if tr.inside[p] {
		return 0, 1, ""
	}
	if !changes(name, args) {
		return 0, 0, ""
	}
	for _, path := range written(name, args) {
		if !tr.fine(path) {
			tr.fault("writes "+path, line)
		}
	}
	return 1, 0, ""
}

func (tr *tracer) fault(what, line string) { tr.faults = append(tr.faults, what+"\n\t"+line) }

// changes says whether a call writes.
func changes(name, args string) bool {
	switch name {
	case "open", "openat", "openat2":
		return regexp.MustCompile(`O_(WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)`).MatchString(args)
	case "creat", "mkdir", "mkdirat", "mknod", "mknodat", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat",
		"unlink", "unlinkat", "rmdir", "chmod", "fchmodat", "fchmodat2", "fchmod", "chown", "lchown", "fchown", "fchownat", "truncate", "ftruncate",
		"utimensat", "utimes", "utime", "futimesat", "setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr", "swapon", "acct":
		return true
	}
	return false
}

// written are the paths that a call changes, whole.
func written(name, args string) []string {
	var out []string
	for _, m := range traceArg.FindAllStringSubmatch(args, -1) {
		switch {
		case m[5] != "":
			out = append(out, m[5])
		case m[1] != "":
			p := m[3]
			if !filepath.IsAbs(p) {
				p = filepath.Join(m[2], p)
			}
			out = append(out, p)
		default:
			out = append(out, m[4])
		}
	}
	switch {
	case strings.HasPrefix(name, "symlink") && len(out) > 1:
		return out[len(out)-1:] // the first is the link's text
	case strings.HasPrefix(name, "link") && len(out) > 1:
		return out[len(out)-1:]
	case strings.HasSuffix(name, "xattr") && len(out) > 1:
		return out[:1] // the second is the attribute's name
	}
	if strings.HasPrefix(name, "f") && len(out) == 0 {
		return []string{"a file of unknown name: " + args}
	}
	return out
}

// fine are the places for writing, devices and controls of the process itself, and the temporary folder that
// systemd-analyze makes in /tmp whatever TMPDIR says.
func (tr *tracer) fine(path string) bool {
	for _, dir := range tr.allowed {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	for _, m := range tr.named {
		inFolder := filepath.Dir(path) == filepath.Dir(m[1]) && strings.HasPrefix(filepath.Base(path), ".grove-tmp-")
		if path == m[1] || inFolder || strings.HasPrefix(m[1], path+"/") {
			return true
		}
	}
	// An image that the kernel does not mount from its file is on a loop device, read-only, as long as it is mounted.
	return regexp.MustCompile(`^(/dev/(null|zero|full|tty|pts/\d+|ptmx|loop-control|loop\d+)|/proc/(self|thread-self|\d+)/.*|anon_inode:.*|pipe:.*|socket:.*|/memfd:.*|/tmp/systemd-temporary-\w+)$`).MatchString(path)
}

// The tracer sees what it has to see.
func TestTracer(t *testing.T) {
	for _, c := range []struct {
		name, text string
		faults     int
	}{
		{"in place", `1 openat(AT_FDCWD</x>, "state/f", O_WRONLY|O_CREAT, 0644) = 3</ok/state/f>`, 1},
		{"relative, in place", `1 openat(AT_FDCWD</ok>, "state/f", O_WRONLY|O_CREAT, 0644) = 3</ok/state/f>`, 0},
		{"reading", `1 openat(AT_FDCWD</ok>, "/etc/passwd", O_RDONLY) = 3</etc/passwd>`, 0},
		{"refused", `1 openat(AT_FDCWD</ok>, "/etc/passwd", O_RDWR) = -1 EACCES (Permission denied)`, 0},
		{"outside", `1 openat(AT_FDCWD</ok>, "/etc/passwd", O_RDWR) = 3</etc/passwd>`, 1},
		{"up and out", `1 mkdirat(4</ok/a>, "../../etc/x", 0755) = 0`, 1},
		{"rename out", `1 renameat(4</ok/a>, "b", AT_FDCWD</ok>, "/var/lib/b") = 0`, 1},
		{"link text is no path", `1 symlinkat("/usr/lib", 4</ok/a>, "b") = 0`, 0},
		{"symlink outside", `1 symlink("x", "/etc/y") = 0`, 1},
		{"by descriptor", `1 fchmod(4</etc/shadow>, 0600) = 0`, 1},
		{"attribute's name is no path", `1 lsetxattr("/ok/f", "user.x", "1", 1, 0) = 0`, 0},
		{"in two parts", "1 fork() = 2\n1 unlinkat(4</etc>, \"motd\", 0 <unfinished ...>\n2 getpid() = 2\n1 <... unlinkat resumed>) = 0", 1},
		{"of nobody", "1 getpid() = 1\n2 getpid() = 2", 1},
		{"child before it is made, inside", "1 clone(flags=CLONE_NEWNS|SIGCHLD) = 2\n2 pivot_root(\".\", \".\") = 0\n2 vfork( <unfinished ...>\n3 creat(\"/etc/x\", 0644) = 3</etc/x>\n2 <... vfork resumed>) = 3", 0},
		{"child before it is made, beside", "1 vfork( <unfinished ...>\n3 creat(\"/etc/x\", 0644) = 3</etc/x>\n1 <... vfork resumed>) = 3", 1},
		{"inside", "1 clone(child_stack=NULL, flags=CLONE_NEWNS|SIGCHLD) = 2\n2 pivot_root(\".\", \".\") = 0\n2 clone(flags=SIGCHLD) = 3 /* 9 in strace's PID NS */\n9 creat(\"/etc/x\", 0644) = 3</etc/x>", 0},
		{"beside", "1 clone(child_stack=NULL, flags=CLONE_NEWNS|SIGCHLD) = 2\n2 pivot_root(\".\", \".\") = 0\n1 creat(\"/etc/x\", 0644) = 3</etc/x>", 1},
		{"mount of the host", `1 mount("tmpfs", "/ok/x", "tmpfs", 0, NULL) = 0`, 1},
	} {
		tr := newTracer([]string{"/ok"})
		tr.read(t, "x", c.text)
		if len(tr.faults) != c.faults {
			t.Errorf("%s: %d faults, want %d: %v", c.name, len(tr.faults), c.faults, tr.faults)
		}
	}
}
