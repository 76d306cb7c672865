// SPDX-License-Identifier: Apache-2.0

package rpm_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"grove/internal/rpm"
)

// TestPeer compares everything that a header says with what rpm prints for all real packages at once.
func TestPeer(t *testing.T) {
	paths := sharedPackages(t)
	query := func(args ...string) (string, string) {
		return peer(t, "rpm", append(append([]string{"-qp", "--nosignature", "--nodigest"}, args...), paths...)...)
	}
	_, complaints := query("--qf", "")
	paths = slices.DeleteFunc(paths, func(p string) bool { return strings.Contains(complaints, p) })
	t.Logf("%d packages, rpm cannot read:\n%s", len(paths), complaints)
	if len(paths) < 200 {
		t.Fatalf("only %d packages", len(paths))
	}
	for _, c := range []struct {
		name  string
		args  []string
		print func(io.Writer, *rpm.Package) error
	}{
		{"fields", []string{"--qf", qfFields}, printFields},
		{"requires", []string{"--qf", "[%{REQUIRENAME} %{REQUIREFLAGS} %{REQUIREVERSION}\n]"}, printDeps(rpm.Requires)},
		{"provides", []string{"--qf", "[%{PROVIDENEVRS}\n]"}, printNEVRs(rpm.Provides)},
		{"requirenevrs", []string{"--qf", "[%{REQUIRENEVRS}\n]"}, printNEVRs(rpm.Requires)},
		{"obsoletes", []string{"--qf", "[%{OBSOLETENEVRS}\n]"}, printNEVRs(rpm.Obsoletes)},
		{"files", []string{"--qf", qfFiles}, printFiles},
		{"dump", []string{"--dump"}, printDump},
		{"scripts", []string{"--scripts"}, printScripts},
		{"triggers", []string{"--triggers"}, printTriggers("")},
		{"filetriggers", []string{"--filetriggers"}, printTriggers("file")},
		{"changelog", []string{"--qf", "[%{CHANGELOGTIME} %{CHANGELOGNAME}\n%{CHANGELOGTEXT}\n]"}, printChangelog},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, _ := query(c.args...)
			var got bytes.Buffer
			for _, path := range paths {
				_, p := open(t, path)
				if err := c.print(&got, p); err != nil {
					t.Fatalf("%s: %v", path, err)
				}
			}
			diffText(t, got.String(), want)
		})
	}
}

func diffText(t *testing.T, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	shown := 0
	for i := 0; i < max(len(g), len(w)) && shown < 10; i++ {
		a, b := "", ""
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			t.Errorf("line %d:\n got %q\nwant %q", i+1, a, b)
			shown++
		}
	}
}

const (
	qfFields = "%{NAME} %{EVR} %{EPOCH} %{NEVRA} %{SUMMARY}|%{LICENSE}|%{URL}|%{VENDOR}|%{GROUP}|%{SOURCERPM}|%{BUILDTIME} %{LONGSIZE}\n%{DESCRIPTION}\n"
	qfFiles  = "[%{FILENAMES} %{LONGFILESIZES} %{FILEMTIMES} %{FILEDIGESTS} %{FILEMODES} %{FILEUSERNAME} %{FILEGROUPNAME} " +
		"%{FILEFLAGS} %{FILEVERIFYFLAGS} %{FILELINKTOS} %{FILENLINKS} %{FILEINODES} %{FILEDEVICES} %{FILERDEVS} %{FILELANGS}\n]"
)

func none(p *rpm.Package, tag uint32, s string) string {
	if !p.Header.Has(tag) {
		return "(none)"
	}
	return s
}

func printFields(w io.Writer, p *rpm.Package) error {
	m, err := p.Meta()
	if err != nil {
		return err
	}
	evr := m.Version + "-" + m.Release
	if m.Epoch != "" {
		evr = m.Epoch + ":" + evr
	}
	nevra := m.Name + "-" + evr + "." + p.Header.String(rpm.TagArch)
	fmt.Fprintf(w, "%s %s %s %s %s|%s|%s|%s|%s|%s|%d %d\n%s\n", m.Name, evr, none(p, rpm.TagEpoch, m.Epoch), nevra, m.Summary, none(p, rpm.TagLicense, m.License),
		none(p, rpm.TagURL, m.URL), none(p, rpm.TagVendor, m.Vendor), none(p, rpm.TagGroup, m.Group), none(p, rpm.TagSourceRPM, m.SourceRPM), m.BuildTimeSec, m.InstalledBytes, m.Description)
	return nil
}

func printDeps(kind rpm.DepKind) func(io.Writer, *rpm.Package) error {
	return func(w io.Writer, p *rpm.Package) error {
		deps, err := p.Header.Deps(kind)
		for _, d := range deps {
			evr := d.EVR.Version
			if d.EVR.Release != "" {
				evr += "-" + d.EVR.Release
			}
			if d.EVR.Epoch != "" {
				evr = d.EVR.Epoch + ":" + evr
			}
			fmt.Fprintf(w, "%s %d %s\n", d.Name, d.Flags, evr)
		}
		return err
	}
}

func printNEVRs(kind rpm.DepKind) func(io.Writer, *rpm.Package) error {
	return func(w io.Writer, p *rpm.Package) error {
		deps, err := p.Header.Deps(kind)
		if region, _, _ := p.Header.Region(); region == 0 && kind == rpm.Provides { // rpm adds there what old packages lack
			m, errMeta := p.Meta()
			deps, err = m.Provides, errMeta
		}
		for _, d := range deps {
			s := d.String()
			if d.EVR.EpochNumber() == 0 && d.EVR.Epoch != "" { // rpm prints what is there
				s = strings.Replace(s, d.Op()+" ", d.Op()+" "+d.EVR.Epoch+":", 1)
			}
			fmt.Fprintln(w, s)
		}
		return err
	}
}

func printFiles(w io.Writer, p *rpm.Package) error {
	files, err := p.Header.Files()
	for _, f := range files {
		device := none(p, rpm.TagFileDevices, fmt.Sprint(f.Device))
		fmt.Fprintf(w, "%s %d %d %s %d %s %s %d %d %s %d %d %s %d %s\n", f.Path, f.SizeBytes, f.MTimeSec, f.Digest, f.Mode, f.User, f.Group,
			f.Flags, f.VerifyFlags, f.LinkTo, f.NLink, f.Inode, device, f.RDev, f.Lang)
	}
	return err
}

func printDump(w io.Writer, p *rpm.Package) error {
	files, err := p.Header.Files()
	if len(files) == 0 {
		fmt.Fprintln(w, "(contains no files)")
	}
	bit := func(v uint32) int {
		if v != 0 {
			return 1
		}
		return 0
	}
	algo, _ := p.Header.DigestAlgo(rpm.TagFileDigestAlgo)
	digestLen := map[string]int{"md5": 32, "sha256": 64}[algo]
	for _, f := range files {
		digest, link := f.Digest, f.LinkTo
		if digest == "" {
			digest = strings.Repeat("0", digestLen)
		}
		if link == "" {
			link = "X"
		}
		fmt.Fprintf(w, "%s %d %d %s 0%o %s %s %d %d %d %s\n", f.Path, f.SizeBytes, f.MTimeSec, digest, f.Mode, f.User, f.Group,
			bit(f.Flags&rpm.FileConfig), bit(f.Flags&rpm.FileDoc), f.RDev, link)
	}
	return err
}

var scriptNames = map[string]string{"pre": "preinstall", "post": "postinstall", "preun": "preuninstall", "postun": "postuninstall",
	"pretrans": "pretrans", "posttrans": "posttrans", "verify": "verify", "preuntrans": "preuntrans", "postuntrans": "postuntrans"}

func printScripts(w io.Writer, p *rpm.Package) error {
	scripts, err := p.Header.Scriptlets()
	order := []string{"pretrans", "preuntrans", "pre", "post", "preun", "postun", "posttrans", "postuntrans", "verify"}
	slices.SortStableFunc(scripts, func(a, b rpm.Scriptlet) int { return slices.Index(order, a.Kind) - slices.Index(order, b.Kind) })
	for _, s := range scripts {
		if s.Body == "" {
			fmt.Fprintf(w, "%s program: %s\n", scriptNames[s.Kind], strings.Join(s.Prog, " "))
			continue
		}
		fmt.Fprintf(w, "%s scriptlet (using %s):\n%s\n", scriptNames[s.Kind], strings.Join(s.Prog, " "), s.Body)
	}
	return err
}

func printTriggers(family string) func(io.Writer, *rpm.Package) error {
	return func(w io.Writer, p *rpm.Package) error {
		triggers, err := p.Header.Triggers()
		for _, tr := range triggers {
			if (family == "") != strings.HasPrefix(tr.Kind, "trigger") {
				continue
			}
			var names []string
			for _, d := range tr.Names {
				names = append(names, d.String())
			}
			fmt.Fprintf(w, "%s scriptlet (using %s) -- %s\n%s\n", tr.Kind, strings.Join(tr.Prog, " "), strings.Join(names, ", "), tr.Body)
		}
		return err
	}
}

func printChangelog(w io.Writer, p *rpm.Package) error {
	changes, err := p.Header.Changelog()
	for _, c := range changes {
		fmt.Fprintf(w, "%d %s\n%s\n", c.TimeSec, c.Name, c.Text)
	}
	return err
}
