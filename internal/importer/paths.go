// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"fmt"
	"path"
	"strings"
)

// Factory is where the tree keeps what /var of a guest is filled from.
const Factory = "usr/share/factory/var"

// optDir is where the content of /opt lies: /opt itself leads into /var, which the tree does not have.
const optDir = "usr/lib/opt"

// mapped is where a path of a package goes.
type mapped struct {
	path   string // in the tree; "" = nowhere
	run    string // below /run: described, not stored
	refuse string // why there is no place for it
}

// MapPath gives the place in a tree of a path as packages name it, and whether it has one.
//
//	shape   "/etc/hosts" -> "usr/etc/hosts"; "/bin/sh" -> "usr/bin/sh"; "/var/lib/x" -> "usr/share/factory/var/lib/x"
//	source  rpm-ostree src/libpriv/rpmostree-importer.cxx, for all but /var, which is kept whole here
func MapPath(p string) (string, bool) {
	m := mapPath(p, typeLink)
	return m.path, m.path != ""
}

// merged are the top-level directories whose content moved below /usr.
var merged = map[string]bool{"bin": true, "sbin": true, "lib": true, "lib32": true, "lib64": true, "libx32": true}

// throughVar are the top-level places that lead into /var, with their names there.
var throughVar = map[string]string{"home": "home", "mnt": "mnt", "root": "roothome", "srv": "srv"}

// plainTop are top-level directories that every root has as they are: mount points, and those of the boot.
var plainTop = map[string]bool{
	"afs": true, "boot": true, "dev": true, "proc": true, "run": true, "sys": true, "sysroot": true, "tmp": true,
}

// madeByCompose are the places where a composed tree has links or nothing: a package's own directories there are not taken.
var madeByCompose = map[string]bool{"media": true, "opt": true, "usr/local": true, "var": true}

// databases are where rpm keeps its own database, which grove writes itself.
var databases = []string{"var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"}

// mapPath is the rule for one path; typ are the type bits of its mode.
func mapPath(name string, typ uint32) mapped {
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	if clean == "" {
		return mapped{}
	}
	for _, db := range databases {
		if clean == db || strings.HasPrefix(clean, db+"/") {
			return mapped{}
		}
	}
	top, rest, below := strings.Cut(clean, "/")
	switch {
	case !below:
		return mapTop(clean, typ)
	case clean == "usr/local":
		return mapped{}
	case strings.HasPrefix(clean, "usr/local/"):
		return mapped{path: Factory + "/usrlocal/" + strings.TrimPrefix(clean, "usr/local/")}
	case top == "usr":
		return mapped{path: clean}
	case top == "etc":
		return mapped{path: "usr/etc/" + rest}
	case top == "var":
		return mapVar(rest, typ)
	case top == "run":
		return mapped{run: "/run/" + rest}
	case merged[top]:
		return mapped{path: "usr/" + clean}
	case top == "opt":
		return mapped{path: optDir + "/" + rest}
	case throughVar[top] != "":
		return mapped{path: Factory + "/" + throughVar[top] + "/" + rest}
	case top == "boot":
		return mapped{path: "usr/lib/ostree-boot/" + rest}
	case plainTop[top] || top == "media":
		return mapped{} // below a mount point it would never be seen
	}
	return mapped{refuse: noPlace(clean)}
}

// mapVar is the rule for what lies below /var. /var/run and /var/lock lead to /run in every system of today.
func mapVar(rest string, typ uint32) mapped {
	top, below, deeper := strings.Cut(rest, "/")
	at := map[string]string{"run": "/run/", "lock": "/run/lock/"}[top]
	switch {
	case at != "" && deeper:
		return mapped{run: at + below}
	case at != "" && typ == typeDir:
		return mapped{}
	}
	if rest == alternatives || strings.HasPrefix(rest, alternatives+"/") {
		return mapped{path: AlternativesState + strings.TrimPrefix(rest, alternatives)}
	}
	return mapped{path: Factory + "/" + rest}
}

// alternatives is where the tools of that name keep, below /var, what they know of the links in /etc/alternatives.
const alternatives = "lib/alternatives"

// AlternativesState is where a tree has that: beside the links, so that both belong to a deployment and are merged with it. Compose
// leads AlternativesLink there.
const (
	AlternativesState = "usr/etc/alternatives-state"
	AlternativesLink  = Factory + "/" + alternatives
)

// mapTop is the rule for the entries of the top level itself: directories that are known, and links.
func mapTop(clean string, typ uint32) mapped {
	switch {
	case throughVar[clean] != "" && typ == typeDir:
		return mapped{path: Factory + "/" + throughVar[clean]} // its owner and mode
	case madeByCompose[clean] || throughVar[clean] != "":
		return mapped{}
	case clean == "usr" && typ == typeDir:
		return mapped{path: clean}
	case clean == "etc" && typ == typeDir:
		return mapped{path: "usr/etc"}
	case merged[clean] && typ == typeDir:
		return mapped{path: "usr/" + clean} // a package that owns /lib as a directory means the one it leads to
	case plainTop[clean] && typ == typeDir:
		return mapped{path: clean}
	case typ == typeLink && clean != "usr" && clean != "etc":
		return mapped{path: clean}
	}
	return mapped{refuse: noPlace(clean)}
}

func noPlace(clean string) string {
	return fmt.Sprintf("/%s has no place in an immutable tree (known at the top are usr etc var opt home root srv mnt boot run, and links)", clean)
}
