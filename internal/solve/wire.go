// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"grove/internal/rpm"
)

// maxRequest bounds an encoded request: 130,000 packages of Fedora take 110 MB.
const maxRequest = 1 << 30

const wireMagic = "grove solve 4\n"

// Flags of an encoded dependency.
const (
	wireLess = 1 << iota
	wireGreater
	wireEqual
	wirePre
	wireVersion // epoch, version and release follow
)

// Call lets run answer a request in another process: run starts one that calls ServeOne and passes bytes.
//
//	errors  those of Solve, and what run returns
func Call(run func(stdin []byte) (stdout []byte, err error), req Request) (Plan, error) {
	if err := check(&req); err != nil {
		return Plan{}, err
	}
	out, err := run(Encode(req))
	if err != nil {
		return Plan{}, fmt.Errorf("solver process: %w", err)
	}
	var r reply
	if err := json.Unmarshal(out, &r); err != nil {
		return Plan{}, fmt.Errorf("solver process: parse answer: %w", err)
	}
	if err := r.error(); err != nil {
		return Plan{}, err
	}
	return r.Plan, r.Plan.check(&req)
}

// ServeOne reads one encoded request, solves it and writes the answer. The error is one of reading or writing; that
// there is no plan is an answer.
func ServeOne(r io.Reader, w io.Writer) error {
	data, err := io.ReadAll(io.LimitReader(r, maxRequest+1))
	if err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	var out reply
	req, err := Decode(data)
	if err == nil {
		out.Plan, err = Solve(req)
	}
	out.set(err)
	answer, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	if _, err := w.Write(answer); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	return nil
}

type reply struct {
	Plan     Plan
	Conflict *Conflict
	Unknown  *Unknown
	Text     string // before Unknown, or an error of its own
}

func (r *reply) set(err error) {
	switch {
	case err == nil:
	case errors.As(err, &r.Conflict):
	case errors.As(err, &r.Unknown):
		r.Text = strings.TrimSuffix(err.Error(), r.Unknown.Error())
	default:
		r.Text = err.Error()
	}
}

func (r *reply) error() error {
	switch {
	case r.Conflict != nil:
		return r.Conflict
	case r.Unknown != nil && r.Text != "":
		return fmt.Errorf("%s%w", r.Text, r.Unknown)
	case r.Unknown != nil:
		return r.Unknown
	case r.Text != "":
		return errors.New(r.Text)
	}
	return nil
}

// check refuses an answer that does not belong to the request.
func (p Plan) check(req *Request) error {
	count := map[string]int{LocalRepo: len(req.Local)}
	for _, r := range req.Repos {
		count[r.ID] = len(r.Packages)
	}
	for _, pick := range p.Install {
		if n, ok := count[pick.Repo]; !ok || pick.Index < 0 || pick.Index >= n {
			return fmt.Errorf("solver process: answer names package %d of %q", pick.Index, pick.Repo)
		}
	}
	for _, i := range p.Remove {
		if i < 0 || i >= len(req.Installed) {
			return fmt.Errorf("solver process: answer names installed package %d of %d", i, len(req.Installed))
		}
	}
	return nil
}

// Encode writes what Solve needs of a request: no descriptions, and of files those that something asks for.
func Encode(req Request) []byte {
	e := encoder{wanted: wantedPaths(&req), globs: PathGlobs(req.Install), b: make([]byte, 0, sizeOf(&req))}
	e.b = append(e.b, wireMagic...)
	e.text(req.Arch)
	for _, flag := range []bool{req.KeepInstalled, req.NoWeak, req.Best, req.Upgrade, req.AllowMissing} {
		e.bool(flag)
	}
	for _, list := range [][]string{req.Install, req.Remove, req.Exclude, req.Locks, req.InstallOnly} {
		e.texts(list)
	}
	e.number(uint64(len(req.Replace)))
	for _, r := range req.Replace {
		e.text(r.Spec)
		e.text(r.From)
	}
	e.number(uint64(len(req.Files)))
	for _, f := range req.Files {
		e.text(f.NEVRA)
		e.bool(f.Newer)
	}
	e.number(uint64(req.Loose))
	e.packages(req.Installed)
	e.packages(req.Local)
	e.number(uint64(len(req.Repos)))
	for _, r := range req.Repos {
		e.text(r.ID)
		e.b = binary.AppendVarint(e.b, int64(r.Priority))
		e.b = binary.AppendVarint(e.b, int64(r.Cost))
		e.packages(r.Packages)
		e.texts(r.Origins)
	}
	return e.b
}

// sizeOf is about how many bytes a request takes.
func sizeOf(req *Request) int {
	n := len(req.Installed) + len(req.Local)
	for _, r := range req.Repos {
		n += len(r.Packages)
	}
	return 4096 + n*packageBytes
}

// packageBytes is what one of Fedora's packages takes, and some more.
const packageBytes = 1000

type encoder struct {
	b      []byte
	wanted map[string]bool
	globs  []string // of files
}

func (e *encoder) number(n uint64) { e.b = binary.AppendUvarint(e.b, n) }

func (e *encoder) bool(v bool) {
	if v {
		e.b = append(e.b, 1)
		return
	}
	e.b = append(e.b, 0)
}

func (e *encoder) text(s string) {
	e.number(uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) texts(list []string) {
	e.number(uint64(len(list)))
	for _, s := range list {
		e.text(s)
	}
}

func (e *encoder) evr(v rpm.EVR) {
	e.text(v.Epoch)
	e.text(v.Version)
	e.text(v.Release)
}

func (e *encoder) packages(list []rpm.Meta) {
	e.number(uint64(len(list)))
	var files []string
	for i := range list {
		m := &list[i]
		e.text(m.Name)
		e.evr(m.EVR)
		e.text(m.Arch)
		for _, deps := range depLists(m) {
			e.deps(*deps)
		}
		files = files[:0]
		for _, f := range m.Files {
			if e.wanted[f] || slices.ContainsFunc(e.globs, func(g string) bool { return glob(g, f) }) {
				files = append(files, f)
			}
		}
		e.texts(files)
	}
}

func (e *encoder) deps(list []rpm.Dep) {
	e.number(uint64(len(list)))
	for i := range list {
		d := &list[i]
		flags := wireFlags(d)
		e.b = append(e.b, flags)
		e.text(d.Name)
		if flags&wireVersion != 0 {
			e.evr(d.EVR)
		}
	}
}

func wireFlags(d *rpm.Dep) (flags byte) {
	if d.Flags&rpm.SenseLess != 0 {
		flags |= wireLess
	}
	if d.Flags&rpm.SenseGreater != 0 {
		flags |= wireGreater
	}
	if d.Flags&rpm.SenseEqual != 0 {
		flags |= wireEqual
	}
	if d.Pre {
		flags |= wirePre
	}
	if !d.EVR.IsZero() {
		flags |= wireVersion
	}
	return flags
}

// Decode reads what Encode wrote.
func Decode(data []byte) (Request, error) {
	var req Request
	rest, ok := bytes.CutPrefix(data, []byte(wireMagic))
	if !ok || len(data) > maxRequest {
		return req, errors.New("parse request: not one of this version")
	}
	d := decoder{rest: string(rest)}
	req.Arch = d.text()
	for _, flag := range []*bool{&req.KeepInstalled, &req.NoWeak, &req.Best, &req.Upgrade, &req.AllowMissing} {
		*flag = d.byte() != 0
	}
	for _, list := range []*[]string{&req.Install, &req.Remove, &req.Exclude, &req.Locks, &req.InstallOnly} {
		*list = d.texts()
	}
	for n := d.count(2); n > 0; n-- {
		req.Replace = append(req.Replace, Replacement{Spec: d.text(), From: d.text()})
	}
	for n := d.count(2); n > 0; n-- {
		req.Files = append(req.Files, File{NEVRA: d.text(), Newer: d.byte() != 0})
	}
	req.Loose = int(min(d.number(), maxPackages+1))
	req.Installed = d.packages()
	req.Local = d.packages()
	for n := d.count(5); n > 0; n-- {
		r := Repo{ID: d.text(), Priority: d.signed(), Cost: d.signed()}
		r.Packages = d.packages()
		r.Origins = d.texts()
		req.Repos = append(req.Repos, r)
	}
	if d.bad || d.rest != "" {
		return Request{}, errors.New("parse request: cut off or malformed")
	}
	return req, nil
}

// decoder takes pieces off a text; after a fault it gives zero values.
type decoder struct {
	rest string
	bad  bool
}

func (d *decoder) fail() {
	d.rest, d.bad = "", true
}

func (d *decoder) byte() byte {
	if d.rest == "" {
		d.fail()
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *decoder) number() uint64 {
	var n uint64
	for shift := 0; shift < 63; shift += 7 {
		b := d.byte()
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
	}
	d.fail()
	return 0
}

func (d *decoder) signed() int {
	n := d.number()
	return int(int64(n>>1) ^ -int64(n&1))
}

// count is a number of things that take at least size bytes each.
func (d *decoder) count(size int) int {
	n := d.number()
	if n > uint64(len(d.rest)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) text() string {
	n := d.count(1)
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) texts() []string {
	n := d.count(1)
	if n == 0 {
		return nil
	}
	out := make([]string, n)
	for i := range out {
		out[i] = d.text()
	}
	return out
}

func (d *decoder) evr() rpm.EVR {
	return rpm.EVR{Epoch: d.text(), Version: d.text(), Release: d.text()}
}

// minPackage is the least that a package takes: five texts, eight lists, files.
const minPackage = 14

func (d *decoder) packages() []rpm.Meta {
	n := d.count(minPackage)
	if n == 0 {
		return nil
	}
	out := make([]rpm.Meta, 0, min(n, 1<<16))
	for ; n > 0 && !d.bad; n-- {
		var m rpm.Meta
		m.Name, m.EVR, m.Arch = d.text(), d.evr(), d.text()
		for _, deps := range depLists(&m) {
			*deps = d.deps()
		}
		m.Files = d.texts()
		out = append(out, m)
	}
	return out
}

func (d *decoder) deps() []rpm.Dep {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	out := make([]rpm.Dep, n)
	for i := range out {
		flags := d.byte()
		out[i].Name, out[i].Pre = d.text(), flags&wirePre != 0
		if flags&wireLess != 0 {
			out[i].Flags |= rpm.SenseLess
		}
		if flags&wireGreater != 0 {
			out[i].Flags |= rpm.SenseGreater
		}
		if flags&wireEqual != 0 {
			out[i].Flags |= rpm.SenseEqual
		}
		if flags&wireVersion != 0 {
			out[i].EVR = d.evr()
		}
	}
	return out
}
