// SPDX-License-Identifier: Apache-2.0

package scriptlet_test

import (
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMemoryIsLeft: what a scriptlet can put into memory as files is less than there is, whatever it fills.
func TestMemoryIsLeft(t *testing.T) {
	w := newWorld(t, "stat", "cat")
	report, err := w.run(t, scripted(t, "a", "post", "/bin/sh", "while read -r dev at fs rest; do [ $fs != tmpfs ] || stat -f -c 'size %b %S' $at; done < /proc/mounts"))
	if err != nil {
		t.Fatal(err)
	}
	sum, seen := uint64(0), 0
	for line := range strings.Lines(string(report.Log)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "size" {
			continue
		}
		blocks, err := strconv.ParseUint(f[1], 10, 64)
		size, err2 := strconv.ParseUint(f[2], 10, 64)
		if err != nil || err2 != nil {
			t.Fatal(line)
		}
		sum += blocks * size
		seen++
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	total := uint64(info.Totalram) * uint64(info.Unit)
	if seen < 6 || sum > total/100*95 {
		t.Errorf("%d file systems hold %d MB of %d:\n%s", seen, sum>>20, total>>20, report.Log)
	}
}
