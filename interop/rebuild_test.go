// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// circumstances are what must not show in what is made. The second machine has nothing in common with the first.
var circumstances = [][]string{
	{"TZ=UTC", "LANG=C", "GOMAXPROCS=1", "umask=022"},
	{"TZ=Pacific/Auckland", "LANG=de_DE.UTF-8", "LC_ALL=tr_TR.UTF-8", "GOMAXPROCS=7", "SOURCE_DATE_EPOCH=86400", "umask=077", "HOSTNAME=elsewhere"},
}

// under is a machine under circumstances: variables and a umask.
func under(t *testing.T, vars []string) site {
	t.Helper()
	s := newSite(t)
	for _, v := range vars {
		if mask, ok := strings.CutPrefix(v, "umask="); ok {
			s.prefix = []string{"/bin/sh", "-c", "umask " + mask + `; exec "$@"`, "sh"}
			continue
		}
		s.env = append(s.env, v)
	}
	return s
}

// origin is a distribution to make twice: a manifest of its base, and what to layer.
type origin struct {
	manifest, ref string
	install       []string
	flags         []string
	drop          string // of install
	large         bool
	fromUpdates   bool // install is in no source that the base was made from
}

func TestRebuild(t *testing.T) {
	need(t, "ostree")
	t.Run("copse", func(t *testing.T) {
		w := copse(t)
		rebuild(t, origin{manifest: w.BaseManifest, ref: w.Ref, drop: "greeter",
			install: []string{"hello", "greeter", "tool-in-opt", "capsule", "lua-post", "trigger-user", "file-trigger-user", "all-scripts", filepath.Join(w.Local, "pebble-1.0-1.noarch.rpm")}})
	})
	t.Run("el7", func(t *testing.T) {
		r := el7Road(t)
		rebuild(t, origin{manifest: el7Manifest(t, filepath.Dir(r.manifest), "most.yaml", "bash", "coreutils", "sed", "centos-release"),
			ref: r.ref, install: []string{"grep", "ca-certificates", "krb5-libs", "info"}, flags: r.flags, drop: "info"})
	})
	t.Run("meadow-small", func(t *testing.T) {
		r := meadowRoad(t, "small")
		rebuild(t, origin{manifest: r.manifest, ref: r.ref, install: r.install, flags: r.flags, drop: r.drop})
	})
	t.Run("meadow-medium", func(t *testing.T) {
		r := meadowRoad(t, "medium")
		rebuild(t, origin{manifest: r.manifest, ref: r.ref, install: []string{"postfix", "postgresql", "nginx"}, flags: r.flags, drop: "nginx", large: true})
	})
}

// rebuild makes a distribution's base and a guest of it on two machines, and from locks, and compares checksums.
func rebuild(t *testing.T, o origin) {
	var made [2]site
	for i, vars := range circumstances {
		made[i] = under(t, vars)
		made[i].grove("compose", o.manifest, "--repo", made[i].path("srv"), "--write-lock", made[i].path("base.lock"))
	}
	base := func(s site, dir string) string {
		t.Helper()
		return strings.TrimSpace(tool(t, "ostree", "--repo="+s.path(dir), "rev-parse", o.ref))
	}
	same(t, "composed twice", made[0], made[1], base(made[0], "srv"), base(made[1], "srv"), "srv")
	if a, b := read(t, made[0].path("base.lock")), read(t, made[1].path("base.lock")); a != b {
		t.Errorf("the two locks differ:\n%s\n%s", a, b)
	}

	// What a lock says, on a machine that has all of it already, and on one that has nothing.
	made[1].grove("compose", o.manifest, "--repo", made[1].path("again"), "--lock", made[0].path("base.lock"), "--offline", "--force")
	same(t, "from the lock and the cache alone", made[0], made[1], base(made[0], "srv"), base(made[1], "again"), "srv", "again")
	fresh := under(t, circumstances[1])
	if !o.large {
		fresh.grove("compose", o.manifest, "--repo", fresh.path("srv"), "--lock", made[0].path("base.lock"))
		same(t, "from the lock", made[0], fresh, base(made[0], "srv"), base(fresh, "srv"), "srv")
	}

	layered := func(s site, extra ...string) string {
		t.Helper()
		s.grove("remote", "add", "dist", "file://"+made[0].path("srv"), "--no-gpg-verify", "--force")
		s.grove("create", "g", "dist:"+o.ref)
		s.grove(append(append(append([]string{"install", "g"}, o.install...), o.flags...), extra...)...)
		return s.current("g")
	}
	one, two := layered(made[0]), layered(made[1])
	same(t, "layered twice", made[0], made[1], one, two, "state/repo")
	lock := filepath.Join(made[0].root, "guests/g/current/lock.json")
	same(t, "layered from the lock", made[0], fresh, one, layered(fresh, "--lock", lock), "state/repo")

	made[0].grove("uninstall", "g", o.drop)
	if without := made[0].current("g"); without == one {
		t.Errorf("uninstall changed nothing")
	}
	// The order of changes is part of a guest, as it is of a system that dnf changed: its lock has it, and leads there again.
	made[0].grove("install", "g", o.drop)
	if a, b := layersOf(made[0]), layersOf(made[1]); a != b {
		t.Errorf("uninstalled and installed again: layers\n%s\nand\n%s", a, b)
	}
	fresh.grove("delete", "g", "--yes")
	again := layered(fresh, "--lock", lock)
	same(t, "uninstalled and installed again, from the lock", made[0], fresh, made[0].current("g"), again, "state/repo")
}

// layersOf are the layers of guest g, sorted.
func layersOf(s site) string {
	s.t.Helper()
	for _, d := range s.status("g").Deployments {
		if d.Current {
			slices.Sort(d.Layered)
			return strings.Join(d.Layered, "\n")
		}
	}
	s.t.Fatal("no current deployment")
	return ""
}

// same demands one checksum, and says which files differ where there are two. repos are the folders of the
// two repositories; one name stands for both.
func same(t *testing.T, what string, a, b site, sumA, sumB string, repos ...string) {
	t.Helper()
	if sumA == sumB {
		return
	}
	dirs := [2]string{a.path(repos[0]), b.path(repos[len(repos)-1])}
	var lists [2]string
	for i, sum := range []string{sumA, sumB} {
		list := filepath.Join(t.TempDir(), "list")
		var text strings.Builder
		for _, line := range strings.Split(tool(t, "ostree", "--repo="+dirs[i], "ls", "-R", "-C", "-X", sum), "\n") {
			if f := strings.Fields(line); len(f) > 6 && f[0][0] == 'd' {
				line = strings.Join(append(f[:4], f[5:]...), " ") // what a directory holds is listed below it
			}
			text.WriteString(line + "\n")
		}
		text.WriteString(strings.ReplaceAll(tool(t, "ostree", "--repo="+dirs[i], "show", "--raw", sum), ", '", ",\n'"))
		write(t, list, text.String())
		lists[i] = list
	}
	out, _ := exec.Command("diff", lists[0], lists[1]).Output()
	out = out[:min(len(out), 4000)]
	if keep := os.Getenv("GROVE_INTEROP_KEEP"); keep != "" {
		_ = exec.Command("cp", "-a", dirs[0], filepath.Join(keep, "a")).Run()
		_ = exec.Command("cp", "-a", dirs[1], filepath.Join(keep, "b")).Run()
	}
	t.Errorf("%s: %s and %s\n%s", what, sumA, sumB, out)
}
