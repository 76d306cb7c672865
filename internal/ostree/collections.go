// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"maps"
	"slices"

	"grove/internal/gvariant"
)

// CollectionMapValue is what a summary's metadata has as SummaryCollectionMap; CollectionMap reads it.
//
//	shape   GVariant a{sa(s(taya{sv}))}: collection id -> refs, both sorted
func CollectionMapValue(collections map[string][]SummaryRef) gvariant.Value {
	items := make([]gvariant.Value, 0, len(collections))
	for _, id := range slices.Sorted(maps.Keys(collections)) {
		items = append(items, gvariant.DictEntry(gvariant.String(id), refsValue(collections[id])))
	}
	return gvariant.Array(collectionMapType.String()[1:], items...)
}

// ExpiresSec is when the summary stops being valid; false if it never does.
//
//	units  seconds since 1970
func (s Summary) ExpiresSec() (uint64, bool) {
	v, ok := s.Metadata.Lookup(SummaryExpires)
	if !ok {
		return 0, false
	}
	return TimeFrom(v)
}
