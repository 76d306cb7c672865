// SPDX-License-Identifier: Apache-2.0

package rpmdb

import (
	"encoding/binary"

	"grove/internal/rpm"
)

// table is one of the index tables.
type table struct {
	name  string
	tag   uint32
	bytes bool // keys are blobs and have no index of their own
	list  bool // a package has many rows, so there is an index by package
	rich  bool
}

// tables are rpm's indexes, in the order in which rpm makes them.
//
//	source  rpm lib/rpmdb.cc, dbiTags; lib/backend/sqlite.cc, sqlite_init
var tables = []table{
	{name: "Name", tag: rpm.TagName},
	{name: "Basenames", tag: rpm.TagBasenames, list: true},
	{name: "Group", tag: rpm.TagGroup},
	{name: "Requirename", tag: rpm.TagRequireName, list: true, rich: true},
	{name: "Providename", tag: rpm.TagProvideName, list: true},
	{name: "Conflictname", tag: rpm.TagConflictName, list: true, rich: true},
	{name: "Obsoletename", tag: rpm.TagObsoleteName, list: true},
	{name: "Triggername", tag: rpm.TagTriggerName, list: true},
	{name: "Dirnames", tag: rpm.TagDirNames, list: true},
	{name: "Installtid", tag: rpm.TagInstallTID, bytes: true},
	{name: "Sigmd5", tag: rpm.TagSigMD5, bytes: true},
	{name: "Sha1header", tag: rpm.TagSHA1Header},
	{name: "Filetriggername", tag: rpm.TagFileTriggerName, list: true},
	{name: "Transfiletriggername", tag: rpm.TagTransFileTriggerName, list: true},
	{name: "Recommendname", tag: rpm.TagRecommendName, list: true, rich: true},
	{name: "Suggestname", tag: rpm.TagSuggestName, list: true, rich: true},
	{name: "Supplementname", tag: rpm.TagSupplementName, list: true, rich: true},
	{name: "Enhancename", tag: rpm.TagEnhanceName, list: true, rich: true},
}

// eachRow calls put for every row of the table that a header gives: key is a string or bytes.
//
//	source  rpm lib/rpmdb.cc, tag2index
func (t table) eachRow(h *rpm.Header, put func(key any, idx uint32) error) error {
	if t.bytes {
		return t.byteRows(h, put)
	}
	keys := h.Strings(t.tag)
	if typ, _, _, _ := h.Raw(t.tag); typ == rpm.TypeI18NString && len(keys) > 1 {
		keys = keys[:1] // the untranslated one, as in the C locale
	}
	if len(keys) == 0 && t.tag == rpm.TagGroup {
		keys = []string{"Unknown"}
	}
	var flags, number []uint32
	switch t.tag {
	case rpm.TagRequireName:
		flags = h.Uint32s(rpm.TagRequireFlags)
	case rpm.TagFileTriggerName:
		number = h.Uint32s(rpm.TagFileTriggerIndex)
	case rpm.TagTransFileTriggerName:
		number = h.Uint32s(rpm.TagTransFileTriggerIndex)
	}
	seen := map[string]bool{}
	for i, key := range keys {
		if i < len(flags) && transient(flags[i]) {
			continue
		}
		if t.tag == rpm.TagTriggerName {
			if seen[key] {
				continue
			}
			seen[key] = true
		}
		idx := uint32(i)
		if i < len(number) {
			idx = number[i]
		}
		if err := put(key, idx); err != nil {
			return err
		}
		if !t.rich || key == "" || key[0] != '(' {
			continue
		}
		for _, name := range richNames(key) {
			if err := put(name, idx); err != nil {
				return err
			}
		}
	}
	return nil
}

// byteRows gives the rows of numbers (each in the byte order of the machines that run rpm) and of bytes.
func (t table) byteRows(h *rpm.Header, put func(key any, idx uint32) error) error {
	typ, count, data, ok := h.Raw(t.tag)
	if !ok || count == 0 {
		return nil
	}
	if typ == rpm.TypeBin {
		return put(data, 0)
	}
	for i, n := range h.Uint32s(t.tag) {
		if err := put(binary.LittleEndian.AppendUint32(nil, n), uint32(i)); err != nil {
			return err
		}
	}
	return nil
}

// transient tells whether a requirement is over once the package is installed: rpm keeps no row for it.
//
//	source  rpm lib/rpmds.cc, isTransientReq
func transient(flags uint32) bool {
	const install = rpm.SenseScriptPre | rpm.SenseScriptPost | rpm.SenseRPMLib | rpm.SenseKeyring | rpm.SensePretrans | rpm.SensePosttrans
	const other = rpm.SenseScriptPreUn | rpm.SenseScriptPostUn | rpm.SenseMeta
	return flags&install != 0 && flags&other == 0
}
