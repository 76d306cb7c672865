// SPDX-License-Identifier: Apache-2.0

package solve_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"grove/internal/rpm"
	"grove/internal/solve"
)

func TestSolve(t *testing.T) {
	for _, c := range []struct{ name, world, want string }{
		{"name and dependency, in order", `@repo r
			a-1-1.x86_64; requires b, /usr/bin/c
			c-1-1.noarch; files /usr/bin/c /usr/bin/d
			b-2-1.x86_64; pre c
			b-1-1.x86_64
			? install a`,
			"r c-1-1.noarch dependency\nr b-2-1.x86_64 dependency\nr a-1-1.x86_64 requested\n"},
		{"forms", `@repo r
			a-1-1.x86_64
			a-2-1.x86_64
			b-1:2-3.x86_64
			b-1:2-4.x86_64
			c-1-1.x86_64
			c-1-1.i686
			d-1-1.noarch; files /usr/bin/d; provides virt = 3
			e-a-1-1.noarch
			e-b-1-1.noarch
			? install a-1
			? install b-1:2-3.x86_64
			? install c.i686
			? install virt >= 2
			? install /usr/bin/d
			? install e-*
			? install (a or c)`,
			"r a-1-1.x86_64 requested\nr b-1:2-3.x86_64 requested\nr c-1-1.i686 requested\nr d-1-1.noarch requested\nr e-a-1-1.noarch requested\nr e-b-1-1.noarch requested\n"},
		{"what is loose is upgraded and divided, the rest stays", `@installed
			base-1-1.noarch
			split-1-1.noarch
			tool-1-1.noarch
			@repo r
			base-2-1.noarch
			tool-2-1.noarch
			split-a-2-1.noarch; obsoletes split < 2
			split-b-2-1.noarch; obsoletes split < 2
			? keep
			? loose 2
			? upgrade`,
			"r split-a-2-1.noarch dependency\nr split-b-2-1.noarch dependency\nr tool-2-1.noarch upgrade\n- split-1-1.noarch\n- tool-1-1.noarch\n"},
		{"own architecture first", `@repo r
			a-1-1.i686
			a-1-1.x86_64
			a-2-1.aarch64
			? install a`, "r a-1-1.x86_64 requested\n"},
		{"both architectures", `@repo r
			lib-1-1.x86_64; provides lib.so()(64bit)
			lib-1-1.i686; provides lib.so
			app-1-1.x86_64; requires lib.so()(64bit)
			? install app
			? install lib.i686`, "r lib-1-1.i686 requested\nr lib-1-1.x86_64 dependency\nr app-1-1.x86_64 requested\n"},
		{"weak", `@repo r
			a-1-1.noarch; recommends b, nope; suggests s
			b-1-1.noarch
			s-1-1.noarch
			c-1-1.noarch; supplements a
			? install a`, "r b-1-1.noarch weak\nr c-1-1.noarch weak\nr a-1-1.noarch requested\n"},
		{"no weak", `@repo r
			a-1-1.noarch; recommends b
			b-1-1.noarch
			c-1-1.noarch; supplements a
			? noweak
			? install a`, "r a-1-1.noarch requested\n"},
		{"weak but excluded", `@repo r
			a-1-1.noarch; recommends b
			b-1-1.noarch
			? exclude b
			? install a`, "r a-1-1.noarch requested\n"},
		{"older where the newest does not fit", `@repo r
			a-1-1.noarch
			a-2-1.noarch; requires nope
			? install a`, "r a-1-1.noarch requested\n"},
		{"best: not the older", `@repo r
			a-1-1.noarch
			a-2-1.noarch; requires nope
			? best
			? install a`, "The packages do not fit together: a-2-1.noarch needs nope, which nothing provides.\n  only the best version will do (best=True in dnf.conf)\n  way out: do not ask for \"a\"\n  or:      add a source that has nope\n"},
		{"best: dependencies may be older", `@repo r
			a-1-1.noarch; requires b
			b-1-1.noarch
			b-2-1.noarch; requires nope
			? best
			? install a`, "r b-1-1.noarch dependency\nr a-1-1.noarch requested\n"},
		{"best: the version that is asked for", `@repo r
			a-1-1.noarch
			a-2-1.noarch; requires nope
			? best
			? install a-1`, "r a-1-1.noarch requested\n"},
		{"beside others of its name", `@installed
			a-1-1.noarch
			b-1-1.noarch
			@repo r
			a-2-1.noarch
			b-2-1.noarch
			? keep
			? installonly a
			? install a-2`, "r a-2-1.noarch requested\n"},
		{"rich if, with, unless", `@repo r
			a-1-1.noarch; requires (b if x), (c if a), (p with q), (u unless a else v)
			b-1-1.noarch
			c-1-1.noarch
			d-1-1.noarch; provides p
			e-1-1.noarch; provides p, q
			u-1-1.noarch
			v-1-1.noarch
			? install a`, "r c-1-1.noarch dependency\nr e-1-1.noarch dependency\nr v-1-1.noarch dependency\nr a-1-1.noarch requested\n"},
		{"priority, then cost", `@repo old 10
			a-1-1.noarch
			@repo new 20
			a-2-1.noarch
			b-1-1.noarch
			@repo near 20 5
			b-1-1.noarch
			? install a
			? install b`, "old a-1-1.noarch requested\nnear b-1-1.noarch requested\n"},
		{"satisfied", `@installed
			a-1-1.noarch; provides virt = 1; files /usr/bin/a
			@repo r
			a-2-1.noarch
			b-1-1.noarch
			? keep
			? install a
			? install virt
			? install /usr/bin/a
			? install b`, "r b-1-1.noarch requested\n= a\n= virt\n= /usr/bin/a\n"},
		{"an older version fits the base", `@installed
			lib-1-1.noarch
			@repo r
			lib-2-1.noarch
			app-2-1.noarch; requires lib >= 2
			app-1-1.noarch; requires lib >= 1
			? keep
			? install app`, "r app-1-1.noarch requested\n"},
		{"a broken base does not matter", `@installed
			x-1-1.noarch; requires nothing-has-this
			@repo r
			a-1-1.noarch
			? keep
			? install a`, "r a-1-1.noarch requested\n"},
		{"remove", `@installed
			a-1-1.noarch
			b-1-1.noarch
			@repo r
			a-2-1.noarch
			? keep
			? remove a`, "- a-1-1.noarch\n"},
		{"remove and install another", `@installed
			vim-minimal-1-1.noarch; provides vi
			need-1-1.noarch; requires vi
			@repo r
			nvi-1-1.noarch; provides vi
			? keep
			? remove vim-minimal
			? install nvi`, "r nvi-1-1.noarch requested\n- vim-minimal-1-1.noarch\n"},
		{"replace, older, from a file and from a source", `@installed
			a-2-1.x86_64
			b-1-1.x86_64; requires a
			c-3-1.x86_64
			@local
			a-1-1.x86_64
			@repo r
			c-2-1.x86_64
			c-4-1.x86_64
			? keep
			? replace a-1-1.x86_64
			? replace c-2-1.x86_64`, "@commandline a-1-1.x86_64 requested\nr c-2-1.x86_64 requested\n- a-2-1.x86_64\n- c-3-1.x86_64\n"},
		{"replace by one that obsoletes", `@installed
			vim-tiny-1-1.x86_64
			@local
			vim-minimal-2-1.x86_64; obsoletes vim-tiny < 2; provides vim-tiny = 2
			? keep
			? replace vim-minimal-2-1.x86_64`, "@commandline vim-minimal-2-1.x86_64 requested\n- vim-tiny-1-1.x86_64\n"},
		{"replace by name: the newest, each architecture for itself", `@installed
			glibc-1-1.x86_64
			glibc-1-1.i686
			need-1-1.x86_64; requires glibc
			@repo r
			glibc-2-1.x86_64
			glibc-2-1.i686
			glibc-3-1.x86_64
			glibc-3-1.i686
			? keep
			? replace glibc`, "r glibc-3-1.i686 requested\nr glibc-3-1.x86_64 requested\n- glibc-1-1.x86_64\n- glibc-1-1.i686\n"},
		{"another architecture beside the base's", `@installed
			glibc-1-1.x86_64; provides libc.so.6()(64bit)
			@repo r
			glibc-1-1.i686; provides libc.so.6
			glibc-2-1.i686; provides libc.so.6; requires glibc-common = 2-1
			glibc-common-2-1.x86_64; conflicts glibc < 2
			wine-1-1.i686; requires libc.so.6
			? keep
			? install wine`, "r glibc-1-1.i686 dependency\nr wine-1-1.i686 requested\n"},
		{"what the base obsoletes is not asked for again", `@installed
			new-2-1.noarch; provides old = 2; obsoletes old < 2
			@repo r
			old-1-1.noarch
			? keep
			? install old`, "= old\n"},
		{"replace by name where the base has the newest", `@installed
			a-2-1.noarch
			@repo r
			a-1-1.noarch
			a-2-1.noarch
			? keep
			? replace a`, "~ a\n"},
		{"replace by a version of which no release is given", `@installed
			a-2-1.noarch
			@repo r
			a-1-1.noarch
			a-1-2.noarch
			? keep
			? replace a-1`, "r a-1-2.noarch requested\n- a-2-1.noarch\n"},
		{"replace from one source, older too", `@installed
			a-2-1.noarch
			@repo r
			a-3-1.noarch
			@repo s
			a-1-1.noarch
			? keep
			? replace a from s`, "s a-1-1.noarch requested\n- a-2-1.noarch\n"},
		{"replace and what comes with it", `@installed
			lib-1-1.x86_64
			lib-devel-1-1.x86_64; requires lib = 1-1
			@repo r
			lib-2-1.x86_64
			lib-devel-2-1.x86_64; requires lib = 2-1
			app-1-1.x86_64; requires lib >= 2
			? keep
			? replace lib
			? replace lib-devel
			? install app`, "r lib-2-1.x86_64 requested\nr lib-devel-2-1.x86_64 requested\nr app-1-1.x86_64 requested\n- lib-1-1.x86_64\n- lib-devel-1-1.x86_64\n"},
		{"a file, and the newer one of a source", `@local
			a-1-1.noarch
			b-1-1.noarch
			@repo r
			a-2-1.noarch
			b-2-1.noarch
			? file a-1-1.noarch or newer
			? file b-1-1.noarch`, "r a-2-1.noarch requested\n@commandline b-1-1.noarch requested\n"},
		{"a file is never gone back from", `@installed
			base-3-1.noarch
			@local
			a-2-1.noarch
			base-2-1.noarch
			c-2-1.noarch
			@repo r
			a-1-1.noarch
			c-3-1.noarch; requires nothing-has-this
			? keep
			? file a-2-1.noarch or newer
			? file base-2-1.noarch or newer
			? file c-2-1.noarch or newer`, "@commandline a-2-1.noarch requested\n@commandline c-2-1.noarch requested\n= base-2-1.noarch\n"},
		{"version locks", `@installed
			base-1-1.noarch
			@repo r
			a-1-1.noarch
			a-2-1.el9.noarch
			a-2-2.el9.noarch
			b-1-1.noarch
			b-2-1.noarch
			? keep
			? lock a-2-1.el9
			? lock !b-0:2-*.*
			? lock base-1-*
			? install a
			? install b`, "r a-2-1.el9.noarch requested\nr b-1-1.noarch requested\n"},
		{"kernels stand side by side", `@installed
			kernel-1-1.x86_64; requires kernel-core = 1-1
			kernel-core-1-1.x86_64; provides installonlypkg(kernel)
			@repo r
			kernel-2-1.x86_64; requires kernel-core = 2-1
			kernel-core-2-1.x86_64; provides installonlypkg(kernel)
			? keep
			? install kernel-2`, "r kernel-core-2-1.x86_64 dependency\nr kernel-2-1.x86_64 requested\n"},
		{"and take each other's place where that is asked for", `@installed
			kernel-1-1.x86_64
			@repo r
			kernel-2-1.x86_64
			? keep
			? replace kernel`, "r kernel-2-1.x86_64 requested\n- kernel-1-1.x86_64\n"},
		{"a file before its twin", `@local
			a-1-1.noarch
			@repo r
			a-1-1.noarch
			? install a-1-1.noarch`, "@commandline a-1-1.noarch requested\n"},
		{"upgrade", `@installed
			a-1-1.noarch
			b-1-1.noarch
			@repo r
			a-2-1.noarch; requires c
			c-1-1.noarch
			? upgrade`, "r c-1-1.noarch dependency\nr a-2-1.noarch upgrade\n- a-1-1.noarch\n"},
		{"missing allowed", `@repo r
			a-1-1.noarch
			? missing
			? install a
			? install zz`, "r a-1-1.noarch requested\n! zz\n"},
		{"gpg-pubkey", `@installed
			gpg-pubkey-352c64e5-52ae6884.(none)
			@repo r
			a-1-1.noarch
			? keep
			? install a`, "r a-1-1.noarch requested\n"},
		{"a malformed rich dependency only hurts its package", `@repo r
			a-1-1.noarch
			b-1-1.noarch; requires (x if
			? install a`, "r a-1-1.noarch requested\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, answer(world(t, c.world))); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	for _, c := range []struct{ name, world, want string }{
		{"unknown", `@repo r
			postfix-1-1.noarch
			postgresql-1-1.noarch
			? install postfxi`, `no package, capability or file is called "postfxi"; similar: postfix` + "\n"},
		{"foreign", `@repo r
			a-1-1.aarch64
			? install a`, `"a" cannot be installed: a-1-1.aarch64 of r cannot be used: it is for aarch64` + "\n"},
		{"nothing provides", `@repo r
			mail-1-1.noarch; requires postfix >= 3
			postfix-3-1.x86_64; requires libfoo.so.2()(64bit)
			? install mail`, `"mail" cannot be installed: postfix-3-1.x86_64 needs libfoo.so.2()(64bit), which nothing provides.
  asked for: mail (mail-1-1.noarch)
  mail-1-1.noarch needs postfix >= 3
  way out: do not ask for "mail"
  or:      add a source that has libfoo.so.2()(64bit)
`},
		{"version is not there", `@repo r
			a-1-1.noarch; requires b >= 2
			b-1-1.noarch
			? install a`, `"a" cannot be installed: a-1-1.noarch needs b >= 2, which nothing provides.
  asked for: a (a-1-1.noarch)
  b-1-1.noarch has only b = 1-1
  way out: do not ask for "a"
  or:      add a source that has b >= 2
`},
		{"base too old", `@installed
			openssl-libs-1:3.0.7-1.x86_64; provides libssl = 3.0
			@repo r
			openssl-libs-1:3.1-1.x86_64; provides libssl = 3.1
			postfix-3.7-1.x86_64; requires libssl >= 3.1
			? keep
			? install postfix`, `"postfix" cannot be installed: postfix-3.7-1.x86_64 needs libssl >= 3.1, for which the base's openssl-libs-1:3.0.7-1.x86_64 with libssl = 3.0 is too old.
  asked for: postfix (postfix-3.7-1.x86_64)
  openssl-libs-1:3.1-1.x86_64 would take the place of the base's openssl-libs-1:3.0.7-1.x86_64
  the base's openssl-libs-1:3.0.7-1.x86_64 is kept as it is
  way out: let openssl-libs-1:3.1-1.x86_64 take the place of the base's openssl-libs-1:3.0.7-1.x86_64 (override replace)
  or:      do not ask for "postfix"
Replaced in the same change, these make it possible: openssl-libs-1:3.1-1.x86_64
`},
		{"a library of the base too old, and what goes with it", `@installed
			ssl-libs-1-1.x86_64; provides libssl.so.1
			ssl-devel-1-1.x86_64; requires ssl-libs = 1-1
			@repo r
			ssl-libs-2-1.x86_64; provides libssl.so.2
			ssl-devel-2-1.x86_64; requires ssl-libs = 2-1
			mail-2-1.x86_64; requires libssl.so.2
			mail-1-1.x86_64; requires libssl.so.1
			? keep
			? install mail-2`, `"mail-2" cannot be installed: mail-2-1.x86_64 needs libssl.so.2, which ssl-libs-2-1.x86_64 has; the base's ssl-libs-1-1.x86_64 is too old for it.
  asked for: mail-2 (mail-2-1.x86_64)
  mail-2-1.x86_64 needs libssl.so.2
  ssl-libs-2-1.x86_64 would take the place of the base's ssl-libs-1-1.x86_64
  the base's ssl-libs-1-1.x86_64 is kept as it is
  way out: let ssl-libs-2-1.x86_64 take the place of the base's ssl-libs-1-1.x86_64 (override replace) and replace or take out the base's ssl-devel-1-1.x86_64 (override)
  or:      do not ask for "mail-2"
Replaced in the same change, these make it possible: ssl-libs-2-1.x86_64 ssl-devel-2-1.x86_64
This fits the base as it is: mail-1-1.x86_64
`},
		{"the base is ahead of the sources", `@installed
			glibc-3-1.x86_64
			@repo r
			glibc-2-1.x86_64
			glibc-devel-2-1.x86_64; requires glibc = 2-1
			? keep
			? install glibc-devel`, `"glibc-devel" cannot be installed: glibc-devel-2-1.x86_64 needs glibc = 2-1, for which the base's glibc-3-1.x86_64 is too new.
  asked for: glibc-devel (glibc-devel-2-1.x86_64)
  glibc-2-1.x86_64 would take the place of the base's glibc-3-1.x86_64
  the base's glibc-3-1.x86_64 is kept as it is
  way out: let glibc-2-1.x86_64 take the place of the base's glibc-3-1.x86_64 (override replace)
  or:      do not ask for "glibc-devel"
Replaced in the same change, these make it possible: glibc-2-1.x86_64
`},
		{"base holds another version", `@installed
			bash-5.1-1.x86_64
			@repo r
			bash-5.2-1.x86_64
			? keep
			? install bash-5.2`, `"bash-5.2" cannot be installed: bash-5.2-1.x86_64 would take the place of the base's bash-5.1-1.x86_64.
  asked for: bash-5.2 (bash-5.2-1.x86_64)
  the base's bash-5.1-1.x86_64 is kept as it is
  way out: let bash-5.2-1.x86_64 take the place of the base's bash-5.1-1.x86_64 (override replace)
  or:      do not ask for "bash-5.2"
Replaced in the same change, these make it possible: bash-5.2-1.x86_64
`},
		{"of several versions the newest is proposed", `@installed
			bash-5.1-1.x86_64
			@repo r
			bash-5.2-1.x86_64
			bash-5.2-2.x86_64
			? keep
			? install bash-5.2*`, `"bash-5.2*" cannot be installed: bash-5.2-1.x86_64 would take the place of the base's bash-5.1-1.x86_64.
  asked for: bash-5.2* (bash-5.2-1.x86_64, bash-5.2-2.x86_64)
  bash-5.2-2.x86_64 would take the place of the base's bash-5.1-1.x86_64
  the base's bash-5.1-1.x86_64 is kept as it is
  way out: let bash-5.2-1.x86_64 take the place of the base's bash-5.1-1.x86_64 (override replace)
  or:      do not ask for "bash-5.2*"
Replaced in the same change, these make it possible: bash-5.2-2.x86_64
`},
		{"conflict with the base", `@installed
			systemd-1-1.x86_64
			@repo r
			sysvinit-1-1.x86_64; conflicts systemd
			? keep
			? install sysvinit`, `"sysvinit" cannot be installed: sysvinit-1-1.x86_64 conflicts with systemd, and the base has systemd-1-1.x86_64.
  asked for: sysvinit (sysvinit-1-1.x86_64)
  the base's systemd-1-1.x86_64 is kept as it is
  way out: replace or take out the base's systemd-1-1.x86_64 (override)
  or:      do not ask for "sysvinit"
`},
		{"obsoletes the base", `@installed
			nano-1-1.x86_64
			@repo r
			pico-1-1.x86_64; obsoletes nano < 5
			? keep
			? install pico`, `"pico" cannot be installed: pico-1-1.x86_64 obsoletes nano < 5, and the base has nano-1-1.x86_64.
  asked for: pico (pico-1-1.x86_64)
  the base's nano-1-1.x86_64 is kept as it is
  way out: replace or take out the base's nano-1-1.x86_64 (override)
  or:      do not ask for "pico"
`},
		{"excluded", `@repo r
			a-1-1.noarch; requires python3
			python3-3-1.noarch
			? exclude python3
			? install a`, `"a" cannot be installed: a-1-1.noarch needs python3, which nothing provides.
  asked for: a (a-1-1.noarch)
  python3-3-1.noarch of r would provide python3, but it is excluded
  way out: do not ask for "a"
  or:      do not exclude python3
`},
		{"removed but needed", `@installed
			a-1-1.noarch; requires b
			b-1-1.noarch
			? keep
			? remove b`, `the base's b-1-1.noarch cannot be removed: the base's a-1-1.noarch needs b.
  the base's a-1-1.noarch is kept as it is
  the base's b-1-1.noarch is to be removed
  way out: replace or take out the base's a-1-1.noarch (override)
  or:      keep the base's b-1-1.noarch
`},
		{"remove what is not there", `@installed
			nano-1-1.noarch
			? remove nanno`, "remove: no package, capability or file is called \"nanno\"; similar: nano\n"},
		{"replace what is not there", `@installed
			nano-1-1.noarch
			@local
			vim-1-1.noarch
			? replace vim-1-1.noarch`, "replace: \"vim-1-1.noarch\" cannot be installed: no installed package is called vim or made obsolete by it\n"},
		{"the base has another version than the lock", `@installed
			bash-5.2-1.x86_64
			@repo r
			a-1-1.noarch
			? keep
			? lock bash-5.1-*
			? install a`, `the base's bash-5.2-1.x86_64 cannot stay: its version is locked to bash-5.1-*.
  way out: let the locked version take its place (override replace)
  or:      take the lock off (versionlock delete)
`},
		{"all versions are locked out", `@repo r
			a-2-1.noarch
			? lock a-1-1.*
			? install a`, `"a" cannot be installed: a-2-1.noarch of r cannot be used: its version is locked to a-1-1.*` + "\n"},
		{"a lock without a version", "? lock bash", `version lock "bash": wanted name-version, name-version-release or name-version-release.arch, globs allowed` + "\n"},
		{"replace from a source that has none", `@installed
			a-1-1.noarch
			@repo r
			a-2-1.noarch
			@repo s
			b-1-1.noarch
			? replace a from s`, `replace: "a" cannot be installed: source s has no such package` + "\n"},
		{"two that exclude each other", `@repo r
			a-1-1.noarch; conflicts b
			b-1-1.noarch
			? install a
			? install b`, `"b" cannot be installed: a-1-1.noarch conflicts with b, which b-1-1.noarch provides.
  asked for: b (b-1-1.noarch)
  asked for: a (a-1-1.noarch)
  way out: do not ask for "b"
  or:      do not ask for "a"
`},
		{"two problems", `@repo r
			a-1-1.noarch; requires nope1
			b-1-1.noarch; requires nope2
			? install a
			? install b`, `"a" cannot be installed: a-1-1.noarch needs nope1, which nothing provides.
  asked for: a (a-1-1.noarch)
  way out: do not ask for "a"
  or:      add a source that has nope1
"b" cannot be installed: b-1-1.noarch needs nope2, which nothing provides.
  asked for: b (b-1-1.noarch)
  way out: do not ask for "b"
  or:      add a source that has nope2
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, answer(world(t, c.world))); d != "" {
				t.Errorf("(-want +got):\n%s", answer(world(t, c.world)))
			}
		})
	}
}

// The same packages go in in the same order wherever each of them comes from.
func TestOrderIsThatOfThePackages(t *testing.T) {
	one := solve.Repo{ID: "one"}
	for _, n := range []string{"d", "b", "e", "a", "c"} {
		one.Packages = append(one.Packages, rpm.Meta{NEVRA: rpm.NEVRA{Name: n, EVR: rpm.EVR{Version: "1", Release: "1"}, Arch: "noarch"}})
	}
	one.Packages[0].Requires = []rpm.Dep{{Name: "e"}}
	kept := solve.Repo{ID: "kept", Priority: 1, Packages: []rpm.Meta{one.Packages[4], one.Packages[0]}}
	names := func(repos ...solve.Repo) (out []string) {
		plan, err := solve.Solve(solve.Request{Arch: "x86_64", Repos: repos, Install: []string{"d", "c", "b", "a"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range plan.Install {
			for _, r := range repos {
				if r.ID == p.Repo {
					out = append(out, r.Packages[p.Index].Name)
				}
			}
		}
		return out
	}
	a, b := names(one), names(one, kept)
	if len(a) != 5 || !slices.Equal(a, b) {
		t.Errorf("%v from one source, %v from two", a, b)
	}
}
