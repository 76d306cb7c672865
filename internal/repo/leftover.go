// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// theirStaging begins the names of libostree's staging folders, which it takes up again after a break.
const theirStaging = "staging-"

// Leftovers gives what transactions of dead processes staged, each as a repository to take objects from. Nothing of it was
// brought to disk for sure, and an object may be half: hold each against its name. Call it before Begin, which clears such
// folders; those given here stay until they are closed. Folders of libostree are left for it to take up.
func (r *Repo) Leftovers() ([]*Repo, error) {
	tmp := filepath.Join(r.path, "tmp")
	ents, err := os.ReadDir(tmp)
	if err != nil {
		if missing(err) {
			return nil, nil
		}
		return nil, err
	}
	var list []*Repo
	for _, e := range ents {
		ours := strings.HasPrefix(e.Name(), stagingPrefix)
		if !e.IsDir() || !ours && !strings.HasPrefix(e.Name(), theirStaging) {
			continue
		}
		left := &Repo{path: filepath.Join(tmp, e.Name()), mode: r.mode, config: r.config, workers: r.workers, flat: ours}
		if ours {
			s, err := lockStaging(left.path)
			if err != nil {
				continue // somebody is at work in it, or just cleared it
			}
			left.objects, left.leftover = s.dir, true
		} else if left.objects, err = os.OpenFile(left.path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err != nil {
			continue
		}
		list = append(list, left)
	}
	return list, nil
}
