// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"os"
	"testing"
)

// Each guest gets the same ids each time, and none that another has at the moment.
func TestTakeIDs(t *testing.T) {
	dir := t.TempDir()
	take := func(guest string) idRange {
		t.Helper()
		r, err := takeIDs(t.Context(), dir, guest)
		if err != nil {
			t.Fatal(err)
		}
		if r.first < firstID || r.first > 0x6fff0000 || r.first%65536 != 0 {
			t.Errorf("range from %#x", r.first)
		}
		return r
	}
	one := take("/state/guests/mail")
	second := take("/state/guests/mail") // as another whose hash is the same
	if second.first == one.first {
		t.Errorf("both have %#x", one.first)
	}
	second.release()
	one.release()
	if again := take("/state/guests/mail"); again.first != one.first {
		t.Errorf("got %#x, before %#x", again.first, one.first)
	} else {
		again.release()
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
