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
	run    bool   // below /run: described, not stored
	refuse string // why there is no place for it
}

// MapPath gives the place in a tree of a path as packages name it, and whether it has one.
//
//	shape   "/etc/hosts" -> "usr/etc/hosts"; "/bin/sh" -> "usr/bin/sh"; "/var/lib/x" -> "usr/share/factory/var/lib/x"
//	source  rpm-ostree src/libpriv/rpmostree-importer.cxx, for all but /var, which is kept whole here
func MapPath(p string) (string, bool) {
	m := mapPath(p, false)
	return m.path, m.path != ""
}

// merged are the top-level directories whose content moved below /usr.
var merged = map[string]bool{"bin": true, "sbin": true, "lib": true, "lib32": true, "lib64": true, "libx32": true}

// throughVar are the top-level places that lead into /var, with their names there.
var throughVar = map[string]string{"home": "home", "mnt": "mnt", "root": "roothome", "srv": "srv"}

// plainTop are top-level directories that every root has: mount points.
var plainTop = map[string]bool{
	"afs": true, "boot": true, "dev": true, "media": true, "proc": true, "run": true, "sys": true, "sysroot": true, "tmp": true, "var": true,
}

// databases are where rpm keeps its own database, which grove writes itself.
var databases = []string{"var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"}

// mapPath is the rule for one path.
func mapPath(name string, dir bool) mapped {
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
	case clean == "usr/local" || clean == "etc" || clean == "var" && dir:
		return mapped{}
	case strings.HasPrefix(clean, "usr/local/"):
		return mapped{path: Factory + "/usrlocal/" + strings.TrimPrefix(clean, "usr/local/")}
	case top == "usr":
		return mapped{path: clean}
	case top == "etc":
		return mapped{path: "usr/etc/" + rest}
	case clean == "var/run" || clean == "var/lock":
		return mapped{path: factoryLink(clean, dir)}
	case strings.HasPrefix(clean, "var/run/"):
		return mapped{run: true}
	case strings.HasPrefix(clean, "var/lock/"):
		return mapped{}
	case top == "var":
		return mapped{path: Factory + "/" + rest}
	case top == "run" && below:
		return mapped{run: true}
	case merged[top] && below:
		return mapped{path: "usr/" + clean}
	case top == "opt" && below:
		return mapped{path: optDir + "/" + rest}
	case throughVar[top] != "" && below:
		return mapped{path: Factory + "/" + throughVar[top] + "/" + rest}
	case top == "boot" && below:
		return mapped{path: "usr/lib/ostree-boot/" + rest}
	case throughVar[top] != "" || top == "opt" || top == "media":
		return mapped{} // compose makes the link that stands here
	}
	return mapTop(clean, top, dir, below)
}

// factoryLink keeps /var/run and /var/lock only as the links that they are today.
func factoryLink(clean string, dir bool) string {
	if dir {
		return ""
	}
	return Factory + "/" + strings.TrimPrefix(clean, "var/")
}

// mapTop decides on what is left: entries of the top level itself.
func mapTop(clean, top string, dir, below bool) mapped {
	switch {
	case merged[top] && dir:
		return mapped{path: "usr/" + top} // a package that owns /lib as a directory means the one it leads to
	case merged[top]:
		return mapped{path: top} // the link itself
	case plainTop[top] && !below && dir:
		return mapped{path: top}
	case plainTop[top]:
		return mapped{} // content of a mount point would never be seen
	case !below && !dir:
		return mapped{path: top}
	}
	return mapped{refuse: fmt.Sprintf("path /%s has no place in an immutable tree (known at the top: usr etc var opt home root srv mnt boot run)", clean)}
}
