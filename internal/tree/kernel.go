// SPDX-License-Identifier: Apache-2.0

package tree

import "errors"

// KernelRelease returns the name of the one folder of /usr/lib/modules that has a vmlinuz.
//
//	errors  if there is none, or more than one
//	source  ostree src/libostree/ostree-repo-os.c, ostree_commit_metadata_for_bootable
func (t *Tree) KernelRelease() (string, error) {
	const modules = "usr/lib/modules"
	e, ok, err := t.Lookup(modules)
	if err != nil {
		return "", err
	}
	if !ok || !e.Dir {
		return "", errors.New("there is no /usr/lib/modules")
	}
	ents, err := t.ReadDir(modules)
	if err != nil {
		return "", err
	}
	release := ""
	for _, e := range ents {
		if !e.Dir {
			continue
		}
		if _, ok, err := t.Lookup(modules + "/" + e.Name + "/vmlinuz"); err != nil {
			return "", err
		} else if !ok {
			continue
		}
		if release != "" {
			return "", errors.New("there is more than one kernel in /usr/lib/modules")
		}
		release = e.Name
	}
	if release == "" {
		return "", errors.New("there is no kernel in /usr/lib/modules")
	}
	return release, nil
}
