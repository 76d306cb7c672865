// SPDX-License-Identifier: Apache-2.0

package scriptlet

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"strconv"
	"strings"

	"grove/internal/rpm"
	"grove/internal/rpmlua"
	"grove/internal/sandbox"
)

// job is one step with what is needed to judge its result.
type job struct {
	step   sandbox.Step
	nevra  string
	kind   string
	fatal  bool
	owners bool
}

// planner lists the jobs in order.
type planner struct {
	o      Options
	report *Report
	jobs   []job
	all    []*member // installed ones first, then the new ones in order
}

// member is a package with its scripts read out of the header.
type member struct {
	nevra    rpm.NEVRA
	header   *rpm.Header
	isNew    bool
	count    int
	scripts  map[string]rpm.Scriptlet
	triggers []rpm.Trigger
	provides []rpm.Dep
	paths    []string // read when first needed
	read     bool
}

// plan makes the list of rpm's transaction of new packages, except that every %pre comes before every %post:
// the files are all there already.
func (p *planner) plan() error {
	if err := p.members(); err != nil {
		return err
	}
	for _, m := range p.all {
		if !m.isNew {
			continue
		}
		if s, ok := m.scripts["pretrans"]; ok && (s.Body != "" || len(s.Prog) > 0 && s.Prog[0] != "/bin/sh") {
			p.report.Skipped = append(p.report.Skipped, label("%pretrans", m.nevra.String())+": the whole tree is in place before any scriptlet runs")
		}
		p.packageTriggers(m, "triggerprein")
		p.script(m, "pre")
	}
	p.owners()
	var done []*member
	for _, m := range p.all {
		done = append(done, m)
		if !m.isNew {
			continue
		}
		if err := p.fileTriggers(m, done, true); err != nil {
			return err
		}
		p.script(m, "post")
		p.packageTriggers(m, "triggerin")
		if err := p.fileTriggers(m, done, false); err != nil {
			return err
		}
	}
	for _, m := range p.all {
		if m.isNew {
			p.script(m, "posttrans")
		}
	}
	if err := p.transactionTriggers(); err != nil {
		return err
	}
	for _, e := range p.o.Extra {
		p.extra(e)
	}
	return nil
}

func (p *planner) members() error {
	for _, h := range p.o.Installed {
		p.all = append(p.all, &member{nevra: h.NEVRA(), header: h, count: 1})
	}
	for _, n := range p.o.New {
		count := n.Count
		if count <= 0 {
			count = 1
		}
		p.all = append(p.all, &member{nevra: n.NEVRA, header: n.Header, isNew: true, count: count})
	}
	for _, m := range p.all {
		triggers, err := m.header.Triggers()
		if err != nil {
			return fmt.Errorf("read triggers of %s: %w", m.nevra, err)
		}
		m.triggers = triggers
		if !m.isNew {
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
	return nil
}

// script adds one of the package's own scripts, if it has it.
func (p *planner) script(m *member, kind string) {
	s, ok := m.scripts[kind]
	if !ok {
		return
	}
	p.add(m, s, call{kind: "%" + kind, args: []string{strconv.Itoa(m.count)}, fatal: true})
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

// owners adds the step that gives the files their owners.
func (p *planner) owners() {
	var all []Owner
	for _, n := range p.o.New {
		all = append(all, n.Owners...)
	}
	if len(all) == 0 {
		return
	}
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(all); err != nil {
		panic("encode owners: " + err.Error()) // a plain struct
	}
	p.jobs = append(p.jobs, job{kind: "owners of files", fatal: true, owners: true,
		step: sandbox.Step{Name: "owners of files", Builtin: ownBuiltin, Stdin: buf.Bytes(), Timeout: p.o.Timeout}})
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
