// SPDX-License-Identifier: Apache-2.0

package sandbox

import "testing"

const mountTable = `24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
151 24 0:54 / /mnt/a\040b ro,nodev,relatime - overlay grove:/srv/my\040state\134x/guests/m\043/deployments/1 ro,lowerdir=/proc/self/fd/8
152 24 0:55 / /mnt/plain rw - tmpfs tmpfs rw
`

func TestFindMount(t *testing.T) {
	for _, c := range []struct {
		id   uint64
		want Mounted
		ok   bool
	}{
		{24, Mounted{"ext4", "/dev/vda"}, true},
		{151, Mounted{"overlay", `grove:/srv/my state\x/guests/m#/deployments/1`}, true},
		{152, Mounted{"tmpfs", "tmpfs"}, true},
		{15, Mounted{}, false},
	} {
		if got, ok := findMount(mountTable, c.id); got != c.want || ok != c.ok {
			t.Errorf("mount %d: got %+v, %v; want %+v, %v", c.id, got, ok, c.want, c.ok)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{`a\040b`: "a b", `\011\012\134\043`: "\t\n\\#", `end\`: `end\`, `end\04`: `end\04`, `\999`: `\999`, "": ""} {
		if got := Unescape(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
