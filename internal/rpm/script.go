// SPDX-License-Identifier: Apache-2.0

package rpm

import "fmt"

// Scriptlet is one script of a package.
//
//	shape   Kind "pre" "post" "preun" "postun" "pretrans" "posttrans" "preuntrans" "postuntrans" "verify";
//	        Prog the interpreter and its arguments, {"/bin/sh"} or {"<lua>"}; Body "" where the interpreter alone is the script
//	units   Flags as in the Script constants
type Scriptlet struct {
	Kind  string
	Prog  []string
	Body  string
	Flags uint32
}

// Trigger is a script that runs when other packages, or files, come or go.
//
//	shape   Kind "triggerprein" "triggerin" "triggerun" "triggerpostun", or for files the same behind "file" and "transfile" ("filetriggerin");
//	        Names the packages with their ranges, or the path prefixes; Index its number among the triggers of its family
//	units   Priority: larger runs earlier, 1000000 where the header names none
type Trigger struct {
	Scriptlet
	Names    []Dep
	Priority uint32
	Index    int
}

// defaultPriority is that of file triggers without one (rpm build/rpmbuild_internal.hh, RPMTRIGGER_DEFAULT_PRIORITY).
const defaultPriority = 1000000

var scriptTags = []struct {
	kind              string
	body, prog, flags uint32
}{
	{"pretrans", TagPreTrans, TagPreTransProg, TagPreTransFlags},
	{"pre", TagPreIn, TagPreInProg, TagPreInFlags},
	{"post", TagPostIn, TagPostInProg, TagPostInFlags},
	{"preun", TagPreUn, TagPreUnProg, TagPreUnFlags},
	{"postun", TagPostUn, TagPostUnProg, TagPostUnFlags},
	{"posttrans", TagPostTrans, TagPostTransProg, TagPostTransFlags},
	{"preuntrans", TagPreUnTrans, TagPreUnTransProg, TagPreUnTransFlags},
	{"postuntrans", TagPostUnTrans, TagPostUnTransProg, TagPostUnTransFlags},
	{"verify", TagVerifyScript, TagVerifyScriptProg, TagVerifyScriptFlags},
}

// Scriptlets gives the package's own scripts, in the order pretrans, pre, post, preun, postun, posttrans, preuntrans, postuntrans, verify.
//
//	errors  none today; the result is complete when err is nil
func (h *Header) Scriptlets() ([]Scriptlet, error) {
	var out []Scriptlet
	for _, t := range scriptTags {
		if !h.Has(t.body) && !h.Has(t.prog) {
			continue
		}
		s := Scriptlet{Kind: t.kind, Prog: h.Strings(t.prog), Body: h.String(t.body)}
		s.Flags, _ = h.Uint32(t.flags)
		if len(s.Prog) == 0 {
			s.Prog = []string{"/bin/sh"}
		}
		out = append(out, s)
	}
	return out, nil
}

var triggerTags = []struct {
	family                                                      string
	scripts, prog, flags, name, version, sense, index, priority uint32
}{
	{"", TagTriggerScripts, TagTriggerScriptProg, TagTriggerScriptFlags,
		TagTriggerName, TagTriggerVersion, TagTriggerFlags, TagTriggerIndex, 0},
	{"file", TagFileTriggerScripts, TagFileTriggerScriptProg, TagFileTriggerScriptFlags,
		TagFileTriggerName, TagFileTriggerVersion, TagFileTriggerFlags, TagFileTriggerIndex, TagFileTriggerPriorities},
	{"transfile", TagTransFileTriggerScripts, TagTransFileTriggerScriptProg, TagTransFileTriggerScriptFlags,
		TagTransFileTriggerName, TagTransFileTriggerVersion, TagTransFileTriggerFlags, TagTransFileTriggerIndex, TagTransFileTriggerPriorities},
}

// Triggers gives all triggers: of packages, of files, of files at the end of a transaction; in the header's order.
//
//	errors  text only, if the arrays of the header do not match
func (h *Header) Triggers() ([]Trigger, error) {
	var out []Trigger
	for _, t := range triggerTags {
		names, err := h.deps(t.name, t.sense, t.version)
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			continue
		}
		scripts, progs := h.Strings(t.scripts), h.Strings(t.prog)
		index, flags := h.Uint32s(t.index), h.Uint32s(t.flags)
		var priorities []uint32
		if t.priority != 0 {
			priorities = h.Uint32s(t.priority)
		}
		n := max(len(scripts), len(progs))
		if len(index) != len(names) {
			return nil, fmt.Errorf("header: tag %d: %d indexes for %d triggers", t.index, len(index), len(names))
		}
		triggers := make([]Trigger, n)
		for i := range triggers {
			triggers[i] = Trigger{Index: i, Priority: defaultPriority}
			triggers[i].Body, triggers[i].Flags = at(scripts, i), at(flags, i)
			triggers[i].Prog = []string{"/bin/sh"}
			if p := at(progs, i); p != "" {
				triggers[i].Prog = []string{p}
			}
			if i < len(priorities) {
				triggers[i].Priority = priorities[i]
			}
		}
		for i, d := range names {
			if int64(index[i]) >= int64(n) {
				return nil, fmt.Errorf("header: trigger on %q: script %d of %d", d.Name, index[i], n)
			}
			tr := &triggers[index[i]]
			tr.Names = append(tr.Names, d)
			tr.Kind = t.family + triggerKind(d.Flags)
		}
		out = append(out, triggers...)
	}
	return out, nil
}

func at[T any](s []T, i int) T {
	var zero T
	if i < len(s) {
		return s[i]
	}
	return zero
}

func triggerKind(flags uint32) string {
	switch {
	case flags&SenseTriggerPreIn != 0:
		return "triggerprein"
	case flags&SenseTriggerIn != 0:
		return "triggerin"
	case flags&SenseTriggerUn != 0:
		return "triggerun"
	case flags&SenseTriggerPostUn != 0:
		return "triggerpostun"
	}
	return "trigger"
}

// Change is one entry of a changelog.
type Change struct {
	TimeSec int64
	Name    string
	Text    string
}

// Changelog gives the changelog, newest first as packages have it.
//
//	errors  text only, if the arrays of the header do not match
func (h *Header) Changelog() ([]Change, error) {
	times, names, texts := h.Uint32s(TagChangelogTime), h.Strings(TagChangelogName), h.Strings(TagChangelogText)
	if len(times) != len(names) || len(times) != len(texts) {
		return nil, fmt.Errorf("header: changelog: %d times, %d names, %d texts", len(times), len(names), len(texts))
	}
	out := make([]Change, len(times))
	for i := range out {
		out[i] = Change{int64(times[i]), names[i], texts[i]}
	}
	return out, nil
}
