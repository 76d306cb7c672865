// SPDX-License-Identifier: Apache-2.0

package guest_test

import (
	"slices"
	"testing"

	"grove/internal/guest"
	"grove/internal/rpm"
)

func TestMoreEntries(t *testing.T) {
	one, two, three := rpm.Change{TimeSec: 1, Name: "a", Text: "- one"}, rpm.Change{TimeSec: 2, Name: "a", Text: "- two"}, rpm.Change{TimeSec: 2, Name: "b", Text: "- three"}
	got := guest.MoreEntries([]rpm.Change{one}, []rpm.Change{three, two, one})
	want := []guest.ChangeEntry{{Time: 2, Name: "b", Text: "- three"}, {Time: 2, Name: "a", Text: "- two"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := guest.MoreEntries([]rpm.Change{two, one}, []rpm.Change{two}); len(got) != 0 {
		t.Errorf("got %v, want none", got)
	}
}
