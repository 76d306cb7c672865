// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"strings"

	"grove/internal/manifest"
	"grove/internal/rpm"
)

// Replaced is an override and what the current deployment has by it.
type Replaced struct {
	Asked string   `json:"asked"`          // as the manifest has it
	Base  []string `json:"base,omitempty"` // nevra of the base's packages that went; none: it waits for something newer
	Now   []string `json:"now,omitempty"`  // nevra of what is there instead
	From  string   `json:"from,omitempty"` // the source; @commandline: a file
}

func (r Replaced) String() string {
	if len(r.Now) == 0 {
		return r.Asked + " (waits: the base has the newest)"
	}
	return fmt.Sprintf("%s -> %s (%s)", strings.Join(r.Base, " "), strings.Join(r.Now, " "), r.From)
}

// replaced pairs overrides with what a lock says of them.
func replaced(asked []manifest.LocalPackage, l manifest.Lock) []Replaced {
	var out []Replaced
	for _, a := range asked {
		r := Replaced{Asked: a.NEVRA}
		name, arch := nameArch(a.NEVRA)
		for _, p := range l.Packages {
			if n, err := rpm.ParseNEVRA(p.NEVRA); err == nil && n.Name == name && (arch == "" || n.Arch == arch) {
				r.Now, r.From = append(r.Now, p.NEVRA), p.Source
			}
		}
		for _, s := range l.Removed {
			if n, err := rpm.ParseNEVRA(s); err == nil && n.Name == name && (arch == "" || n.Arch == arch) {
				r.Base = append(r.Base, s)
			}
		}
		out = append(out, r)
	}
	return out
}
