// SPDX-License-Identifier: Apache-2.0

package scriptlet

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"grove/internal/rpm"
	"grove/internal/rpmlua"
	"grove/internal/sandbox"
)

// job is one step with what is needed to judge its result.
type job struct {
	step  sandbox.Step
	nevra string
	kind  string
	fatal bool
	warns bool // its lines "warning: ..." are to be passed on
}

// planner lists the jobs in order. It plays the transaction through: db is what rpm's database holds at each point of it.
type planner struct {
	o      Options
	report *Report
	jobs   []job
	db     []*member // in the order of installation
	fresh  []*member
	old    []*member
	failed error   // of add
	postun []owned // transfiletriggerpostun that removals set off
}

// member is a package with its scripts read out of the header.
type member struct {
	nevra    rpm.NEVRA
	header   *rpm.Header
	isNew    bool
	isOld    bool
	files    []Erase // of an old one: what goes with it
	owners   []Owner
	sysusers []string
	scripts  map[string]rpm.Scriptlet
	triggers []rpm.Trigger
	paths    []string // read when first needed
	erased   []string // of an old one: the paths that no other package has
	read     bool
}

// plan makes the list of rpm's transaction: what comes is installed one after the other, then what goes is erased.
//
//	source  rpm, lib/transaction.cc (rpmtsRun), lib/psm.cc (rpmPackageInstall, rpmPackageErase)
func (p *planner) plan() error {
	if err := p.members(); err != nil {
		return err
	}
	for _, m := range p.old {
		p.script(m, "preuntrans", p.left(m))
	}
	goes := slices.DeleteFunc(slices.Clone(p.db), func(m *member) bool { return !m.isOld })
	if err := p.transactionTriggers("transfiletriggerun", goes); err != nil {
		return err
	}
	for _, m := range p.old {
		if err := p.ownTransactionTriggers(m, "transfiletriggerun"); err != nil {
			return err
		}
	}
	for _, m := range p.fresh {
		if err := p.install(m); err != nil {
			return err
		}
	}
	for _, m := range p.old {
		if err := p.erase(m); err != nil {
			return err
		}
	}
	for _, m := range p.fresh {
		p.script(m, "posttrans", p.count(m.nevra.Name)+p.updates(m))
	}
	for _, m := range p.old {
		p.script(m, "postuntrans", p.count(m.nevra.Name))
	}
	if err := p.transactionTriggers("transfiletriggerin", p.fresh); err != nil {
		return err
	}
	for _, t := range byPriority(p.postun) {
		if slices.Contains(p.db, t.owner) {
			p.add(t.owner, t.Scriptlet, call{kind: "%" + t.Kind, args: []string{"0"}})
		}
	}
	for _, m := range p.fresh {
		if err := p.ownTransactionTriggers(m, "transfiletriggerin"); err != nil {
			return err
		}
	}
	for _, e := range p.o.Extra {
		p.extra(e)
	}
	return nil
}

// pretrans lists what runs before anything is in place.
func (p *planner) pretrans() error {
	if err := p.members(); err != nil {
		return err
	}
	for _, m := range p.fresh {
		p.script(m, "pretrans", p.count(m.nevra.Name)+1)
	}
	return nil
}

// install adds what one new package calls for.
func (p *planner) install(m *member) error {
	p.setOff(m, "triggerprein", 0)
	p.setOffOwn(m, "triggerprein", 0)
	p.script(m, "pre", p.count(m.nevra.Name)+1)
	if len(m.sysusers) > 0 {
		p.builtin(m, "sysusers", sysusersBuiltin, m.sysusers)
	}
	p.own(m)
	p.db = append(p.db, m)
	if err := p.fileTriggers(m, "filetriggerin", true); err != nil {
		return err
	}
	p.script(m, "post", p.count(m.nevra.Name))
	p.setOff(m, "triggerin", 0)
	p.setOffOwn(m, "triggerin", 0)
	return p.fileTriggers(m, "filetriggerin", false)
}

// erase adds what one package that goes calls for.
func (p *planner) erase(m *member) error {
	if err := p.fileTriggers(m, "filetriggerun", true); err != nil {
		return err
	}
	p.setOffOwn(m, "triggerun", -1)
	p.setOff(m, "triggerun", -1)
	p.script(m, "preun", p.count(m.nevra.Name)-1)
	if err := p.fileTriggers(m, "filetriggerun", false); err != nil {
		return err
	}
	p.remove(m)
	if err := p.fileTriggers(m, "filetriggerpostun", true); err != nil {
		return err
	}
	p.script(m, "postun", p.count(m.nevra.Name)-1)
	p.setOff(m, "triggerpostun", -1)
	if err := p.fileTriggers(m, "filetriggerpostun", false); err != nil {
		return err
	}
	if err := p.keepPostun(m); err != nil {
		return err
	}
	p.db = slices.DeleteFunc(p.db, func(o *member) bool { return o == m })
	return nil
}

// count is how many packages of a name the database holds.
func (p *planner) count(name string) int {
	n := 0
	for _, m := range p.db {
		if m.nevra.Name == name {
			n++
		}
	}
	return n
}

// updates is 1 for a new package that takes the place of an old one, of its name or one that it obsoletes.
func (p *planner) updates(m *member) int {
	obsoletes, _ := m.header.Deps(rpm.Obsoletes) // the solver read them before
	for _, o := range p.old {
		self := rpm.Dep{Name: o.nevra.Name, Flags: rpm.SenseEqual, EVR: o.nevra.EVR}
		if o.nevra.Name == m.nevra.Name || slices.ContainsFunc(obsoletes, func(d rpm.Dep) bool { return d.Intersects(self) }) {
			return 1
		}
	}
	return 0
}

// left is what rpm passes to %preuntrans: how many of the name are there afterwards.
func (p *planner) left(m *member) int {
	n := p.count(m.nevra.Name) - 1
	if slices.ContainsFunc(p.fresh, func(o *member) bool { return o.nevra.Name == m.nevra.Name }) {
		n++
	}
	return n
}

func (p *planner) members() error {
	gone := map[*rpm.Header]int{}
	for i, r := range p.o.Removed {
		gone[r.Header] = i + 1
	}
	p.old = make([]*member, len(p.o.Removed))
	for _, h := range p.o.Installed {
		m := &member{nevra: h.NEVRA(), header: h}
		if i := gone[h]; i > 0 {
			m.isOld, m.files = true, p.o.Removed[i-1].Files
			p.old[i-1] = m
		}
		p.db = append(p.db, m)
	}
	for i, m := range p.old {
		if m == nil {
			return fmt.Errorf("internal error: %s is to be removed and not installed", p.o.Removed[i].Header.NEVRA())
		}
	}
	for _, n := range p.o.New {
		p.fresh = append(p.fresh, &member{nevra: n.NEVRA, header: n.Header, isNew: true, owners: n.Owners, sysusers: n.Sysusers})
	}
	for _, m := range slices.Concat(p.db, p.fresh) {
		triggers, err := m.header.Triggers()
		if err != nil {
			return fmt.Errorf("read triggers of %s: %w", m.nevra, err)
		}
		m.triggers = triggers
		if !m.isNew && !m.isOld {
			continue
		}
		scripts, err := m.header.Scriptlets()
		if err != nil {
			return fmt.Errorf("read scriptlets of %s: %w", m.nevra, err)
		}
		m.scripts = map[string]rpm.Scriptlet{}
		for _, s := range scripts {
			m.scripts[s.Kind] = s
		}
	}
	return p.erasedPaths()
}

// erasedPaths finds out which files go with the old packages: those that no package has that stays or comes.
func (p *planner) erasedPaths() error {
	if len(p.old) == 0 {
		return nil
	}
	kept := map[string]bool{}
	for _, m := range slices.Concat(p.db, p.fresh) {
		paths, err := m.all()
		if err != nil {
			return err
		}
		for _, f := range paths {
			kept[f] = kept[f] || !m.isOld
		}
	}
	for _, m := range p.old {
		for _, f := range m.paths {
			if !kept[f] {
				m.erased = append(m.erased, f)
			}
		}
	}
	return nil
}

// critical are the scriptlets whose failure rpm takes for the package's; of all others it only warns.
//
//	source  rpm, lib/rpmscript.cc (scriptInfo)
var critical = map[string]bool{"pretrans": true, "pre": true, "preun": true, "preuntrans": true}

// script adds one of the package's own scripts, if it has it.
func (p *planner) script(m *member, kind string, arg int) {
	s, ok := m.scripts[kind]
	if !ok {
		return
	}
	p.add(m, s, call{kind: "%" + kind, args: []string{strconv.Itoa(arg)}, fatal: critical[kind]})
}

// call is how a script is run.
type call struct {
	kind  string
	args  []string // after the script's own path
	fatal bool
	files []string // of a file trigger
}

// add appends a script run as rpm runs it: "PROG ARGS... SCRIPT COUNT [COUNT]", a program without a script alone.
func (p *planner) add(m *member, s rpm.Scriptlet, c call) {
	body := s.Body
	if s.Flags&rpm.ScriptExpand != 0 {
		body = rpmlua.Expand(body, macros)
	}
	if s.Flags&rpm.ScriptQFormat != 0 {
		text, err := queryFormat(m.header, body)
		if err != nil && p.failed == nil {
			p.failed = fmt.Errorf("%s: %w", label(c.kind, m.nevra.String()), err)
		}
		body = text
	}
	if body == "" && (len(s.Prog) == 0 || s.Prog[0] == "/bin/sh" || s.Prog[0] == "<lua>") {
		return // "%post" and nothing: rpm runs nothing either
	}
	name := label(c.kind, m.nevra.String())
	st := sandbox.Step{Name: name, Timeout: p.o.Timeout}
	if prefixes := m.header.Strings(rpm.TagPrefixes); len(prefixes) > 0 {
		st.Env = append(st.Env, "RPM_INSTALL_PREFIX="+prefixes[0])
		for i, prefix := range prefixes {
			st.Env = append(st.Env, fmt.Sprintf("RPM_INSTALL_PREFIX%d=%s", i, prefix))
		}
	}
	if len(s.Prog) > 0 && s.Prog[0] == "<lua>" {
		st.Builtin = luaBuiltin
		st.Stdin = encodeLua(luaInput{Name: name, Script: body, Args: append([]string{"<lua>"}, c.args...), Files: c.files})
	} else {
		st.Argv = append([]string{}, s.Prog...)
		if body != "" {
			st.Script = []byte(body)
			st.Argv = append(append(st.Argv, sandbox.ScriptPath), c.args...)
		}
		if c.files != nil {
			st.Stdin = []byte(strings.Join(c.files, "\n") + "\n")
		}
	}
	p.jobs = append(p.jobs, job{step: st, nevra: m.nevra.String(), kind: c.kind, fatal: c.fatal})
}

// macros are what scriptlets that are expanded at installation may name.
var macros = map[string]string{
	"_prefix": "/usr", "_exec_prefix": "/usr", "_bindir": "/usr/bin", "_sbindir": "/usr/sbin", "_libexecdir": "/usr/libexec",
	"_datadir": "/usr/share", "_sysconfdir": "/etc", "_localstatedir": "/var", "_sharedstatedir": "/var/lib", "_rundir": "/run",
	"_lib": "lib64", "_libdir": "/usr/lib64", "_tmppath": "/var/tmp", "_unitdir": "/usr/lib/systemd/system",
	"_sysusersdir": "/usr/lib/sysusers.d", "_tmpfilesdir": "/usr/lib/tmpfiles.d", "_dbpath": "/usr/share/rpm", "nil": "",
}

// own adds the step that gives a package's files their owners.
func (p *planner) own(m *member) {
	if len(m.owners) > 0 {
		p.builtin(m, "owners of files", ownBuiltin, m.owners)
	}
}

// remove adds the step that takes the files of an old package away.
func (p *planner) remove(m *member) {
	if len(m.files) > 0 {
		p.builtin(m, "removal of files", eraseBuiltin, m.files)
	}
}

func (p *planner) builtin(m *member, kind, builtin string, input any) {
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(input); err != nil {
		panic("encode input of " + builtin + ": " + err.Error()) // plain structs
	}
	p.jobs = append(p.jobs, job{nevra: m.nevra.String(), kind: kind, fatal: true, warns: builtin != eraseBuiltin,
		step: sandbox.Step{Name: label(kind, m.nevra.String()), Builtin: builtin, Stdin: buf.Bytes(), Timeout: p.o.Timeout}})
}

func (p *planner) extra(e Extra) {
	prog := []string{"/bin/sh"}
	if line, _, _ := strings.Cut(e.Body, "\n"); strings.HasPrefix(line, "#!") {
		if words := strings.Fields(line[2:]); len(words) > 0 {
			prog = words
		}
	}
	st := sandbox.Step{Name: e.Name, Argv: append(prog, sandbox.ScriptPath), Script: []byte(e.Body), Timeout: p.o.Timeout}
	p.jobs = append(p.jobs, job{step: st, kind: e.Name, fatal: true})
}
