// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// allowed says where a guest may differ from what dnf installs into a folder, and why. Anything else is a fault.
var allowed = []rule{
	{`/(usr/share/rpm|usr/lib/sysimage|usr/lib/sysimage/rpm|var/lib/rpm)(/.*)?`, "the database lies elsewhere: in /usr, where an upgrade takes it along"},
	{`/usr/share/factory(/var)?`, "what /var is filled from"},
	{`/usr/share/factory/var/.*`, "what /var is filled from"},
	{`/usr/lib/tmpfiles\.d/grove-(var|run)\.conf`, "what /var and /run are to hold, for systemd"},
	{`/usr/etc(/.*)?`, "the /etc that packages brought, which an upgrade merges"},
	{``, "the root of an OSTree tree is 0755"},
	{`/(sysroot|ostree|boot)`, "every OSTree tree has these"},
	{`/(media|opt|tmp)`, "writable: a link into /var or /run"},
	{`/(dev|proc|run|sys)(/.*)?`, "mount points"},
	{`/(etc|var)/\.updated`, "tells the time of an upgrade"},
	{`/etc/machine-id`, "each guest's own"},
	{`/etc/resolv\.conf`, "the host's, when a command runs in the guest"},
	{`/etc/(\.pwd\.lock|passwd-|group-|shadow-|gshadow-|subuid-|subgid-)`, "left by useradd, of no use"},
	{`/var/(cache|lib|log)/(dnf|hawkey|yum).*`, "dnf's own"},
	{`/var/log/(hawkey|lastlog|faillog|tallylog).*`, "tells when a program ran"},
	{`/var/cache/ldconfig(/aux-cache)?`, "depends on inodes"},
	{`/var/lib/rpm-state(/.*)?`, "of the time of a transaction"},
	{`/etc/systemd/system|/etc/systemd|/etc/systemd/system/(default\.target|multi-user\.target\.wants|multi-user\.target\.wants/ssh\.service)`, "units and target of the manifest"},
	{`/usr/lib/os-release`, "mutate-os-release of the manifest"},
	{`/var/log/alternatives\.log`, "tells when"},
	{`/etc/ssl/(certs|private)/ssl-cert-snakeoil\.(pem|key)`, "a key that all guests of a tree would share"},
	{`/usr/lib/x86_64-linux-gnu/gconv/gconv-modules\.cache|/etc/systemd/system/(dbus-org\.freedesktop\.timesync1\.service|sysinit\.target\.wants/systemd-timesyncd\.service)`,
		"made by a scriptlet that dnf runs before the program is there that it wants; here the whole tree is"},
	{`/etc/aliases\.db`, "tells when and where it was made"},
	{`/etc/dnf(/modules\.d)?`, "dnf's own"},
	{`/var/opt`, "is /opt"},
	{`/var/lib/alternatives`, "leads to /etc/alternatives-state, which belongs to a deployment as /etc/alternatives does"},
	{`/usr/lib/opt`, "where files of /opt lie"},
	{`/etc/pki/ca-trust/extracted/java/cacerts`, "tells when it was made"},
	{`/etc/yum\.repos\.d/CentOS-.*`, "left out by the manifest of the test"},
	{`/usr/lib/file-trigger-user/hello`, "written anew by each run of a trigger, and the order of packages that need nothing of each other is free"},
}

var allowedPaths = anyOf(allowed)

// rule is a pattern of paths that may differ, and why.
type rule struct{ pattern, reason string }

func anyOf(rules []rule) *regexp.Regexp {
	var all []string
	for _, r := range rules {
		all = append(all, r.pattern)
	}
	return regexp.MustCompile("^(?:" + strings.Join(all, "|") + ")$")
}

// allowedUpgrade is where an upgraded guest may differ besides: dnf changes a tree in place, grove makes it anew, and leaves /var.
var allowedUpgrade = anyOf([]rule{
	{`/usr/lib/(hello/stamp|trigger-user/log|file-trigger-user/docs)`, "note how often, and with which argument, a scriptlet ran"},
	{`/usr/lib/all-scripts(/log)?|/usr/share/capsule`, "what rpm leaves of a package that goes: what its scriptlets wrote, and folders that it does not own"},
	{`/var/lib/hello/stamp`, "of the version that was there first"},
	{`/etc/ssl/certs/[^/]+\.([0-9]|pem)`, "links to certificates that the older package had: update-ca-certificates leaves them"},
	{`/etc/systemd/system/timers\.target\.wants/fstrim\.timer`, "a preset of the newer meadow-release, which counts where util-linux is installed with it"},
	{`/(etc/alternatives|usr/bin|var/lib/alternatives)/(editor|ex|rview|vi|view)`,
		"vim-minimal takes the place of vim-tiny: its %post makes these, and in place the %preun of vim-tiny, which comes after it, removes them"},
})

// moved are the places below /var for which a guest has links at the top, as in every OSTree tree.
var moved = []struct{ in, as string }{
	{"/var/home", "/home"}, {"/var/mnt", "/mnt"}, {"/var/opt", "/opt"}, {"/var/roothome", "/root"}, {"/var/srv", "/srv"}, {"/var/usrlocal", "/usr/local"},
}

func TestSameAsDnf(t *testing.T) {
	need(t, "dnf", "rpm")
	packages := regexp.MustCompile(`(?m)^  - (.*)$`)
	t.Run("copse", func(t *testing.T) {
		w := copse(t)
		var names []string
		for _, m := range packages.FindAllStringSubmatch(regexp.MustCompile(`(?s)packages:.*`).FindString(read(t, w.BaseManifest)), -1) {
			names = append(names, m[1])
		}
		p := newPair(t, origin{manifest: w.BaseManifest, ref: w.Ref, install: []string{"hello", "greeter", "tool-in-opt", "capsule",
			"lua-post", "trigger-user", "file-trigger-user", "all-scripts", "rich"}}, w.Dir, "1", names)
		p.compare(t)
		p.remove(t, "motd")
		write(t, p.path("all.repo"), strings.ReplaceAll(read(t, w.RepoFile), "enabled=0", "enabled=1"))
		p.replace(t, []string{"--repo-file", p.path("all.repo")}, "motd")
		p.upgrade(t, w.UpdatesManifest)
		pebble := filepath.Join(w.Local, "pebble-1.0-1.noarch.rpm")
		// An older one than the base's; what layers asked for goes, and something else comes for it.
		p.change(t, "older", true, []string{"downgrade", "motd-1.0"}, []string{"override", "replace", "g", "motd-1.0", "--repo-file", p.path("all.repo")})
		p.change(t, "swap", true, []string{"swap", "motd", pebble}, []string{"override", "remove", "g", "motd", "--install", pebble, "--no-gpg-check"})
		p.change(t, "uninstall", true, []string{"remove", "--noautoremove", "all-scripts", "capsule"}, []string{"uninstall", "g", "all-scripts", "capsule"})
	})
	t.Run("el7", func(t *testing.T) {
		r := el7Road(t)
		base := []string{"bash", "filesystem", "centos-release", "popt"}
		p := newPair(t, origin{manifest: el7Manifest(t, filepath.Dir(r.manifest), "with-popt.yaml", base...), ref: r.ref, flags: r.flags, install: []string{"sed", "grep"}},
			filepath.Dir(r.manifest), "7", base)
		p.compare(t)
		p.remove(t, "popt")
		p.change(t, "uninstall", true, []string{"remove", "grep"}, []string{"uninstall", "g", "grep"})
		rest := []string{"coreutils", "grep", "ca-certificates", "krb5-libs", "info"}
		p.change(t, "install", true, append([]string{"install"}, rest...), append([]string{"install", "g"}, rest...))
		older := filepath.Join(sharedFolder(t, "data/rpms/centos-release"), "centos-release-7-2.1511.el7.centos.2.10.x86_64.rpm")
		p.change(t, "replace", true, []string{"downgrade", older}, []string{"override", "replace", "g", older, "--no-gpg-check"})
		p.change(t, "replace-reset", true, []string{"upgrade", "centos-release"}, []string{"override", "reset", "g", "centos-release"})
	})
	for _, size := range []string{"small", "medium"} {
		t.Run("meadow-"+size, func(t *testing.T) {
			r := meadowRoad(t, size)
			manifest := read(t, r.manifest)
			var names []string
			for _, m := range packages.FindAllStringSubmatch(manifest[strings.Index(manifest, "\npackages:"):], -1) {
				names = append(names, m[1])
			}
			install, remove := r.install, "hostname"
			if size == "medium" {
				install, remove = applications(t, filepath.Join(filepath.Dir(r.manifest), "meadow-layers.json")), "nano"
			}
			p := newPair(t, origin{manifest: r.manifest, ref: r.ref, flags: r.flags, install: install, fromUpdates: size == "small"},
				filepath.Dir(r.manifest), "1", names)
			p.compare(t)
			if size == "medium" {
				p.change(t, "remove", true, []string{"remove", "--noautoremove", remove}, []string{"override", "remove", "g", remove}) // and stays away
			} else {
				p.remove(t, remove)
				p.replace(t, r.flags, "bash", "ca-certificates", "tzdata", "openssl", "libssl3", "meadow-release")
			}
			if size == "medium" {
				// dnf brings both parts of a package that was split; who makes the tree asks for the second one.
				write(t, r.next, strings.Replace(read(t, r.next), "  - iproute2\n", "  - iproute2\n  - iproute2-tc\n", 1))
			}
			p.upgrade(t, r.next)
		})
	}
}

// applications are all packages of the application sets of a Meadow world.
func applications(t *testing.T, file string) []string {
	t.Helper()
	var sets map[string][]string
	if err := json.Unmarshal([]byte(read(t, file)), &sets); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, set := range sets {
		all = append(all, set...)
	}
	sort.Strings(all)
	return all
}

// pair is a folder that dnf installed into, and a guest of the same packages.
type pair struct {
	site
	o    origin
	root string // dnf's
	dnf  func(...string)

	changed bool // the base was changed: allowedUpgrade counts
}

// newPair installs the base and then the layers by dnf into a folder, and makes a guest of the same.
func newPair(t *testing.T, o origin, repos, releasever string, base []string) *pair {
	t.Helper()
	s := newSite(t)
	p := &pair{site: s, o: o, root: s.path("dnf")}
	p.dnf = dnfInto(t, p.root, repos, releasever)
	second := []string{"install"}
	if !o.fromUpdates {
		// A guest's layers come from the sources of its base first, dnf takes the newest of all.
		second = []string{"--disablerepo=*-updates", "install"}
	}
	atOnce(t, func() {
		p.dnf(append([]string{"--setopt=install_weak_deps=False", "--disablerepo=*-updates", "install"}, base...)...)
		p.dnf(append(second, o.install...)...)
	}, func() {
		s.grove("compose", o.manifest, "--repo", s.path("srv"))
		s.grove("remote", "add", "dist", "file://"+s.path("srv"), "--no-gpg-verify")
		s.grove("create", "g", "dist:"+o.ref)
		s.grove(append(append([]string{"install", "g"}, o.install...), o.flags...)...)
	})
	return p
}

// atOnce does things that know nothing of each other at the same time; where one fails, the test ends after all.
func atOnce(t *testing.T, all ...func()) {
	t.Helper()
	var wg sync.WaitGroup
	var done atomic.Int32
	for _, f := range all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			f() // ends the goroutine where a helper fails
			done.Add(1)
		}()
	}
	wg.Wait()
	if int(done.Load()) < len(all) {
		t.FailNow()
	}
}

// compare holds the trees against each other, entry by entry, and what rpm finds when it verifies them.
func (p *pair) compare(t *testing.T) {
	t.Helper()
	guest := filepath.Join(p.site.root, "guests/g")
	tree, done := p.site.tree("g")
	defer done()
	var theirs, ours map[string]entry
	atOnce(t, func() { theirs = scan(t, p.root, "") }, func() { ours = scan(t, tree, "/var") })
	for f, e := range scan(t, filepath.Join(guest, "var"), "") {
		f = "/var" + strings.TrimSuffix(f, "/")
		for _, m := range moved {
			if rest, ok := strings.CutPrefix(f, m.in); ok && (rest == "" || rest[0] == '/') {
				f = m.as + rest
			}
		}
		ours[f] = e
	}
	for f := range ours {
		if rest, ok := strings.CutPrefix(f, "/etc/alternatives-state"); ok {
			ours["/var/lib/alternatives"+rest] = ours[f]
			delete(ours, f)
		}
		// What packages have in /opt lies in /usr, and /var/opt leads there.
		if rest, ok := strings.CutPrefix(f, "/usr/lib/opt/"); ok {
			ours["/opt/"+rest] = ours[f]
			delete(ours, f)
		}
	}
	for f := range theirs {
		if p.changed && allowedUpgrade.MatchString(f) {
			delete(theirs, f)
			delete(ours, f)
		}
	}
	for f := range ours {
		if p.changed && allowedUpgrade.MatchString(f) {
			delete(ours, f)
		}
	}
	compareTrees(t, theirs, ours)
	p.verify(t)
}

// verify compares what `rpm -Va` says of both, but for the times of files: in a tree they are one.
func (p *pair) verify(t *testing.T) {
	t.Helper()
	at := p.path("mounted")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	p.site.grove("mount", "g", at)
	defer p.site.grove("umount", at)
	find := func(root, dbpath string) map[string]string {
		// rpm ends with an error where it finds anything.
		out, errs, _ := hostRPM(t, dbpath, "--root="+root, "-Va", "--nomtime", "--nosignature")
		if text := strings.TrimSpace(errs); text != "" {
			t.Errorf("rpm -Va in %s: %s", root, text)
		}
		found := map[string]string{}
		for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
			if i := strings.IndexByte(line, '/'); i > 0 {
				found[line[i:]] = strings.TrimSpace(line[:i])
			} else if line != "" {
				found[line] = "says"
			}
		}
		return found
	}
	list := func(root, dbpath string) string {
		var packages []string
		for _, l := range strings.Split(sortedLines(rpmOn(t, dbpath, "--root="+root, "-qa", "--nosignature")), "\n") {
			if !strings.HasPrefix(l, "gpg-pubkey-") { // a key that dnf imported
				packages = append(packages, l)
			}
		}
		return strings.Join(packages, "\n")
	}
	if a, b := list(p.root, "/usr/lib/sysimage/rpm"), list(at, "/usr/share/rpm"); a != b {
		t.Errorf("installed by dnf and not by grove, or the other way: %v", apart(a, b))
	}
	var theirs, ours map[string]string
	atOnce(t, func() { theirs = find(p.root, "/usr/lib/sysimage/rpm") }, func() { ours = find(at, "/usr/share/rpm") })
	for _, f := range sortedNames(theirs, ours) {
		if theirs[f] != ours[f] && !allowedPaths.MatchString(strings.TrimSuffix(f, "/")) {
			t.Errorf("rpm -Va: %s: dnf %q, grove %q", f, theirs[f], ours[f])
		}
	}
	t.Logf("rpm -Va names %d files by dnf, %d by grove", len(theirs), len(ours))
}

// change makes one change on both sides and compares; base says that dnf changes packages of the base in place for it.
func (p *pair) change(t *testing.T, name string, base bool, dnf, grove []string) {
	t.Helper()
	atOnce(t, func() { p.dnf(dnf...) }, func() { p.site.grove(grove...) })
	p.changed = p.changed || base
	t.Run(name, func(t *testing.T) { p.compare(t) })
}

// remove takes a package of the base away and has it back.
func (p *pair) remove(t *testing.T, name string) {
	t.Helper()
	p.change(t, "remove", true, []string{"remove", "--noautoremove", name}, []string{"override", "remove", "g", name})
	p.change(t, "remove-reset", true, []string{"--setopt=install_weak_deps=False", "--disablerepo=*-updates", "install", name}, []string{"override", "reset", "g", name})
}

// replace puts newer packages in the place of the base's and takes them back.
func (p *pair) replace(t *testing.T, flags []string, names ...string) {
	t.Helper()
	p.change(t, "replace", true, append([]string{"--setopt=install_weak_deps=False", "--enablerepo=*-updates", "upgrade"}, names...),
		append(append([]string{"override", "replace", "g"}, names...), flags...))
	p.change(t, "replace-reset", true, append([]string{"--setopt=install_weak_deps=False", "--disablerepo=*-updates", "downgrade"}, names...),
		append([]string{"override", "reset", "g"}, names...))
}

// upgrade brings the folder up to date in place, and the guest by its base and layers.
func (p *pair) upgrade(t *testing.T, next string) {
	atOnce(t, func() {
		p.dnf("--setopt=install_weak_deps=False", "--enablerepo=*-updates", "upgrade") // as the manifest of the base has it
	}, func() {
		p.site.grove("compose", next, "--repo", p.path("srv"))
		p.site.grove("upgrade", "g")
	})
	t.Run("upgrade", func(t *testing.T) { p.compare(t) })
}

// apart are the lines that only one of two texts has.
func apart(a, b string) []string {
	in := map[string]int{}
	for _, l := range strings.Split(a, "\n") {
		in["only dnf "+l]++
	}
	var out []string
	for _, l := range strings.Split(b, "\n") {
		if in["only dnf "+l] == 0 {
			out = append(out, "only grove "+l)
		}
		delete(in, "only dnf "+l)
	}
	for l := range in {
		out = append(out, l)
	}
	sort.Strings(out)
	return out
}

func sortedNames(maps ...map[string]string) []string {
	all := map[string]bool{}
	for _, m := range maps {
		for n := range m {
			all[n] = true
		}
	}
	var out []string
	for n := range all {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

// dnfInto gives a function that runs dnf on an installation of its own.
func dnfInto(t *testing.T, root, repos, releasever string) func(...string) {
	t.Helper()
	for _, d := range []string{"dev", "proc", "sys", "run"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9} {
		if err := unix.Mknod(filepath.Join(root, "dev", name), unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, "mount", "-t", "proc", "proc", filepath.Join(root, "proc"))
	t.Cleanup(func() { tool(t, "umount", filepath.Join(root, "proc")) })
	home := t.TempDir()
	write(t, filepath.Join(home, ".rpmmacros"), "%_dbpath /usr/lib/sysimage/rpm\n%_db_backend sqlite\n")
	// Debian's dnf starts agents for the check of signed metadata; the packages' own signatures are enough here.
	return func(args ...string) {
		t.Helper()
		cmd := exec.Command("dnf", append([]string{"-q", "-y", "--installroot=" + root, "--releasever=" + releasever, "--setopt=reposdir=" + repos,
			"--setopt=*.repo_gpgcheck=0", "--setopt=cachedir=/var/cache/dnf"}, args...)...)
		// Scriptlets see this environment: a TMPDIR of the test would not be there for them.
		cmd.Env = []string{"HOME=" + home, "LC_ALL=C.UTF-8", "PATH=" + os.Getenv("PATH")}
		cmd.Dir = home
		out, errs, code := capture(t, cmd)
		if code != 0 {
			t.Fatalf("dnf %v: exit code %d\n%s%s", args, code, out, errs)
		}
		if text := out + errs; strings.Contains(text, "scriptlet failed") {
			t.Logf("dnf %v:\n%s", args, text)
		}
	}
}

// entry is what is compared of a file: type, mode, owner by name, capabilities, target, content.
type entry struct {
	mode, owner, caps, content string
}

func (e entry) String() string {
	return strings.TrimSpace(strings.Join([]string{e.mode, e.owner, e.caps, e.content}, " "))
}

// scan reads a root; owners are named by its own passwd and group. What is below the folder skip is left out.
func scan(t *testing.T, root, skip string) map[string]entry {
	t.Helper()
	users, groups := ids(root, "passwd"), ids(root, "group")
	out := map[string]entry{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		p := strings.TrimPrefix(path, root)
		if skip != "" && p == skip || p == "/proc" {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		e := entry{mode: info.Mode().String(), owner: named(users, st.Uid) + ":" + named(groups, st.Gid)}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			e.content = "-> " + target
		case info.Mode().IsRegular():
			if e.content, err = content(root, p); err != nil {
				return err
			}
			buf := make([]byte, 64)
			n, err := unix.Lgetxattr(path, "security.capability", buf)
			if err == nil {
				e.caps = fmt.Sprintf("caps %x", buf[:n])
			} else if !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
				return err
			}
		}
		out[p] = e
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ids reads names by number. A guest's /var has no passwd of its own: its deployment's is the one.
func ids(root, file string) map[string]string {
	out := map[string]string{}
	for _, place := range []string{"etc", "../current/root/etc"} {
		data, err := os.ReadFile(filepath.Join(root, place, file))
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(data), "\n") {
			if f := strings.Split(line, ":"); len(f) > 2 && out[f[2]] == "" {
				out[f[2]] = f[0]
			}
		}
		return out
	}
	return out
}

func named(names map[string]string, id uint32) string {
	n := fmt.Sprint(id)
	if name := names[n]; name != "" {
		return name
	}
	return n
}

// content is the digest of a file; of account files, the lines without numbers and days.
func content(root, p string) (string, error) {
	data, err := os.ReadFile(root + p)
	if err != nil {
		return "", err
	}
	switch p {
	case "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow":
		lines := strings.Split(strings.TrimSpace(string(data)), "\n")
		for i, line := range lines {
			lines[i] = account(root, p, strings.Split(line, ":"))
		}
		sort.Strings(lines)
		return strings.Join(lines, "\n\t\t"), nil
	}
	return fmt.Sprintf("%d %.8x", len(data), sha256.Sum256(data)), nil
}

// account writes a line of an account file without what is free: numbers, and the day of the last change. Accounts
// that sysusers.d makes have "!*" for a password where those of useradd have "!".
func account(root, p string, f []string) string {
	if len(f) < 3 {
		return strings.Join(f, ":")
	}
	if f[1] == "!*" {
		f[1] = "!"
	}
	if p != "/etc/gshadow" {
		f[2] = ""
	}
	if p == "/etc/passwd" && len(f) == 7 {
		f[3] = ""
	}
	return strings.Join(f, ":")
}

// compareTrees reports each difference that is not in the list of allowed ones.
func compareTrees(t *testing.T, theirs, ours map[string]entry) {
	t.Helper()
	all := map[string]bool{}
	for p := range theirs {
		all[p] = true
	}
	for p := range ours {
		all[p] = true
	}
	var paths []string
	for p := range all {
		if theirs[p] != ours[p] && !allowedPaths.MatchString(p) {
			paths = append(paths, p)
		}
	}
	sort.Strings(paths)
	for i, p := range paths {
		if i == 40 {
			t.Errorf("and %d more", len(paths)-i)
			break
		}
		a, hasA := theirs[p]
		b, hasB := ours[p]
		switch {
		case !hasB:
			t.Errorf("only dnf    %s %s", p, a)
		case !hasA:
			t.Errorf("only grove  %s %s", p, b)
		default:
			t.Errorf("differs     %s\n\tdnf   %s\n\tgrove %s", p, a, b)
		}
	}
	t.Logf("%d entries by dnf, %d by grove", len(theirs), len(ours))
}
