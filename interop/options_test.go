// SPDX-License-Identifier: Apache-2.0

package interop_test

import (
	"regexp"
	"strings"
	"testing"
)

var helpOption = regexp.MustCompile(`(?m)^ +(?:-([A-Za-z]), )?--([a-z0-9-]+)`)

// optionsOf are the options that a help text lists, long name by long name with its letter.
func optionsOf(help string) map[string]string {
	all := map[string]string{}
	for _, m := range helpOption.FindAllStringSubmatch(help, -1) {
		all[m[2]] = m[1]
	}
	return all
}

// Every option that ostree's help lists for a verb grove's verb has too, by the same names.
func TestOptionsOfOstree(t *testing.T) {
	need(t, "ostree")
	grove, ostree := clients()
	everywhere := map[string]bool{"help": true, "help-all": true, "version": true, "verbose": true, "repo": true}
	others := map[string]bool{"sysroot": true} // of ostree remote: a whole host's root; grove has repositories only
	for _, verb := range []string{"cat", "checkout", "commit", "config", "diff", "export", "fsck", "gpg-sign", "init", "log", "ls", "prune", "pull", "pull-local", "refs", "reset",
		"rev-parse", "show", "sign", "summary", "remote add", "remote delete", "remote list", "remote refs", "remote summary", "remote show-url", "remote gpg-import", "remote gpg-list-keys",
		"remote add-cookie", "remote delete-cookie", "remote list-cookies", "static-delta generate", "static-delta list", "static-delta show", "static-delta delete",
		"static-delta apply-offline", "static-delta verify", "static-delta indexes", "static-delta reindex"} {
		peerCase(t, "options/"+strings.ReplaceAll(verb, " ", "-")+"/"+sameResult, func(t *testing.T) {
			words := append(strings.Fields(verb), "--help")
			theirs, ours := optionsOf(ostree.run(t, "none", words...)), optionsOf(grove.run(t, "none", words...))
			if len(theirs) < 3 {
				t.Fatalf("ostree's help lists %v", theirs)
			}
			for name, letter := range theirs {
				switch mine, there := ours[name]; {
				case everywhere[name] || others[name] && strings.HasPrefix(verb, "remote "):
				case !there:
					t.Errorf("grove repo %s has no --%s", verb, name)
				case letter != "" && mine != letter:
					t.Errorf("grove repo %s --%s: the letter is %q, ostree's %q", verb, name, mine, letter)
				}
			}
		})
	}
}
