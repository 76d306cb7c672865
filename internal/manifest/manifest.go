// SPDX-License-Identifier: Apache-2.0

// Package manifest holds the declarative file that says what a tree or a guest is made of, and the lock that
// says what came of it.
//
// The file has the keys of rpm-ostree's treefile; a guest's manifest is the same file with `base:` set. One table
// (Keys) gives each key its type, default, rule of merging and help; the decoder, the encoder, the merge and the
// reference text are made from it. The package resolves no package names and reads no file but through the given
// fs.FS. What it keeps:
//
//   - a key that nobody knows is refused with file and line; one that has no meaning here is named in Ignored;
//   - Encode gives the same bytes for the same value, and Load gives that value back (but for Ignored and Files);
//   - every path in a Manifest is relative to the fs.FS that it was loaded from, and does not leave it.
package manifest

import "strings"

// Manifest is a treefile with everything it includes merged in.
type Manifest struct {
	Base string // "REMOTE:REF" or a local ref; "" = a tree made from nothing
	Ref  string // where the commit goes

	Releasever    string
	Repos         []string // ids of sources; none = all enabled ones beside the manifest
	LockfileRepos []string // sources for locked packages only
	RepoVars      map[string]string
	GPGKey        string   // id of the key that signs the commit
	GPGKeys       []string // files of public keys, trusted beside those the sources name

	Packages        []string // packages, bootstrap_packages and packages-ARCH of this architecture: one spec each, blanks allowed within
	ExcludePackages []string
	VersionLocks    []string // [!]name-version[-release][.arch], globs allowed
	RepoPackages    []RepoPackages
	LocalPackages   []LocalPackage
	ReplaceFiles    []string // names of packages whose files may take the place of other packages'
	Overrides       Overrides
	Modules         Modules
	PlatformModule  string // platform:NAME
	Recommends      *bool  // nil = yes; see WantRecommends
	Documentation   *bool  // nil = yes; see WantDocumentation
	InstallLangs    []string

	AddFiles             [][2]string // source file, path in the tree
	RemoveFiles          []string
	RemoveFromPackages   [][]string // package, then regular expressions
	OSTreeLayers         []string
	OSTreeOverrideLayers []string
	Postprocess          []string
	PostprocessScript    string
	Units                []string
	DefaultTarget        string

	Edition             string
	Container           bool
	SELinux             *bool // nil = yes unless Container; see WantSELinux
	TmpIsDir            *bool // nil = yes with Container or from edition 2024; see WantTmpIsDir
	MachineIDCompat     *bool // nil = yes
	OptUsrlocal         string
	IMA                 bool
	IgnoreDevices       *bool // nil = yes
	ReadonlyExecutables bool

	EtcGroupMembers     []string
	CheckPasswd         *Check
	CheckGroups         *Check
	IgnoreRemovedUsers  []string
	IgnoreRemovedGroups []string
	PreservePasswd      *bool // nil = yes

	Metadata               map[string]any // add-commit-metadata: bool, int64, float64, string, []any, map[string]any
	MutateOSRelease        string
	AutomaticVersionPrefix string
	AutomaticVersionSuffix string
	Variables              map[string]any // bool, int64, float64 or string

	Ignored []string // keys that were present, known, and without meaning here; sorted
	Files   []string // the files that were read, in order
}

// RepoPackages are packages that must come from one source.
type RepoPackages struct {
	Repo     string
	Packages []string
}

// LocalPackage is a package given as a file, or, in Overrides.Replace without a digest, one chosen from a source.
type LocalPackage struct {
	NEVRA  string // from a source: also a name, name.arch or name-version
	SHA256 string // 64 hex digits of the file; "" = from a source (replace only)
	Repo   string // the source it has to come from; "" = any (replace only)
}

// Overrides change the base itself.
type Overrides struct {
	Remove  []string // names of installed packages
	Replace []LocalPackage
}

// Modules are streams of modules of the sources.
type Modules struct {
	Disable []string // names
	Enable  []string // name:stream
	Install []string // name[:stream][/profile]: enabled, and the packages of the profile installed
}

// Check says what the accounts of a new tree are compared with.
type Check struct {
	Type     string // none, previous, file, data
	Filename string
	Entries  map[string][]int64
}

func orElse(v *bool, standard bool) bool {
	if v == nil {
		return standard
	}
	return *v
}

// WantRecommends tells whether weak dependencies are installed.
func (m Manifest) WantRecommends() bool { return orElse(m.Recommends, true) }

// WantDocumentation tells whether files marked as documentation are kept.
func (m Manifest) WantDocumentation() bool { return orElse(m.Documentation, true) }

// WantSELinux tells whether files are labelled.
func (m Manifest) WantSELinux() bool { return orElse(m.SELinux, !m.Container) }

// WantTmpIsDir tells whether /tmp is a directory rather than a link to sysroot/tmp.
func (m Manifest) WantTmpIsDir() bool { return orElse(m.TmpIsDir, m.Container || m.Edition >= "2024") }

// BaseRemote splits Base.
//
//	"remote:ref" -> "remote", "ref";  "ref" -> "", "ref"
func (m Manifest) BaseRemote() (remote, ref string) {
	if i := strings.IndexByte(m.Base, ':'); i >= 0 {
		return m.Base[:i], m.Base[i+1:]
	}
	return "", m.Base
}

// BaseArch is the name that sources and packages-ARCH use for a machine's architecture.
func BaseArch(arch string) string {
	switch arch {
	case "i386", "i486", "i586", "i686", "athlon", "geode":
		return "i386"
	case "amd64", "x86_64_v2", "x86_64_v3", "x86_64_v4":
		return "x86_64"
	case "arm64":
		return "aarch64"
	case "armv7l", "armv7hl", "armv7hnl":
		return "armhfp"
	}
	return arch
}
