// SPDX-License-Identifier: Apache-2.0

package manifest

import "strings"

// The types that a key can have. The text is what the reference prints.
const (
	typeString       = "string"
	typeBool         = "boolean"
	typeNames        = "list of names"
	typeWords        = "list of packages"
	typeStrings      = "list of strings"
	typePath         = "path"
	typePaths        = "list of paths"
	typeFilePairs    = "list of pairs: file, path in the tree"
	typeLists        = "list of lists: package, patterns"
	typeValues       = "map of values"
	typeStringMap    = "map of strings"
	typeCheck        = "map: type, filename, entries"
	typeRepoPackages = "list of maps: repo, packages"
	typeLocals       = "list of maps: nevra, sha256"
	typeOverrides    = "map: remove, replace"
	typeModules      = "map: enable, install, disable"
	typeInclude      = "file, list of files, or a treefile in place"
	typeArchInclude  = "map of architecture to include"
	typeConditional  = "list of maps: if, include"
	typeAny          = "anything"
)

// The rules by which a file and what it includes are merged.
const (
	mergeOwn   = "the including file wins"
	mergeList  = "included files' entries first, then its own"
	mergeSet   = "included files' entries first, then its own; once each"
	mergeByKey = "by key; the including file wins"
	mergeNone  = "not merged"
)

// Key is one row of the table that everything here is made from.
type Key struct {
	Name    string
	Type    string
	Default string
	Merge   string
	Example string // a value in YAML
	Help    string
	Ignored string // why the key has no meaning here; "" = it has

	field  func(*Manifest) any // a pointer into the value
	input  bool                // read into another key's field; never written
	expand bool                // ${variables} are substituted
}

// Keys returns the table, in the order in which Encode writes.
func Keys() []Key { return append(append([]Key(nil), ownKeys...), ignoredKeys...) }

var ownKeys = []Key{
	{Name: "edition", Type: typeString, Default: "2014", Merge: mergeOwn, Example: `"2024"`, Help: "Which set of defaults the file was written for.", field: func(m *Manifest) any { return &m.Edition }},
	{Name: "base", Type: typeString, Merge: mergeOwn, Example: "el7:centos/7/x86_64/minimal", Help: "The tree that the packages are layered on: REMOTE:REF, or a ref of the local repo. Without it the tree is made from nothing.", expand: true, field: func(m *Manifest) any { return &m.Base }},
	{Name: "ref", Type: typeString, Merge: mergeOwn, Example: "fedora/${releasever}/${basearch}/base", Help: "The name under which the commit is kept.", expand: true, field: func(m *Manifest) any { return &m.Ref }},
	{Name: "variables", Type: typeValues, Merge: mergeByKey, Example: "{stream: testing, prod: false}", Help: "Values for ${NAME} and for the conditions of conditional-include. releasever and basearch are always there.", field: func(m *Manifest) any { return &m.Variables }},
	{Name: "releasever", Type: typeString, Merge: mergeOwn, Example: `"40"`, Help: "What $releasever means in .repo files.", field: func(m *Manifest) any { return &m.Releasever }},
	{Name: "include", Type: typeInclude, Merge: mergeNone, Example: "common.yaml", Help: "Files to inherit from, relative to this one. Of several, the earlier ones win.", input: true},
	{Name: "arch-include", Type: typeArchInclude, Merge: mergeNone, Example: "{x86_64: boot-x86_64.yaml}", Help: "Like include, for one architecture.", input: true},
	{Name: "conditional-include", Type: typeConditional, Merge: mergeNone, Example: "[{if: 'releasever >= 41', include: new.yaml}]", Help: "Like include, if all conditions hold: VARIABLE OP VALUE with == != < <= > >=.", input: true},

	{Name: "repos", Type: typeNames, Default: "all enabled ones", Merge: mergeSet, Example: "[fedora, updates]", Help: "The sources to use, from the .repo files beside the manifest.", field: func(m *Manifest) any { return &m.Repos }},
	{Name: "lockfile-repos", Type: typeNames, Merge: mergeSet, Example: "[pool]", Help: "Sources that only locked packages are taken from.", field: func(m *Manifest) any { return &m.LockfileRepos }},
	{Name: "repovars", Type: typeStringMap, Merge: mergeByKey, Example: "{mirror: local}", Help: "Further variables of .repo files.", field: func(m *Manifest) any { return &m.RepoVars }},
	{Name: "gpg-key", Type: typeString, Merge: mergeOwn, Example: "843833DF", Help: "The id of the key that signs the commit.", field: func(m *Manifest) any { return &m.GPGKey }},
	{Name: "gpg-keys", Type: typePaths, Merge: mergeSet, Example: "[RPM-GPG-KEY-CentOS-7]", Help: "Files of public keys whose packages are trusted, beside the keys that the .repo files name.", field: func(m *Manifest) any { return &m.GPGKeys }},

	{Name: "packages", Type: typeWords, Merge: mergeSet, Example: `[bash coreutils, "'podman >= 4.1'", /usr/bin/vi]`, Help: "What to install: names, name.arch, NEVRA, globs, provides, paths. An entry is split at blanks unless it stands in single quotes.", field: func(m *Manifest) any { return &m.Packages }},
	{Name: "packages-ARCH", Type: typeWords, Merge: mergeSet, Example: "[grub2-efi-x64]", Help: "Packages for one architecture, for example packages-x86_64.", input: true, field: func(m *Manifest) any { return &m.Packages }},
	{Name: "bootstrap-packages", Type: typeWords, Merge: mergeSet, Example: "[filesystem]", Help: "The old name for a part of packages.", input: true, field: func(m *Manifest) any { return &m.Packages }},
	{Name: "repo-packages", Type: typeRepoPackages, Merge: mergeList, Example: "[{repo: updates, packages: [kernel]}]", Help: "Packages that must come from one source.", field: func(m *Manifest) any { return &m.RepoPackages }},
	{Name: "exclude-packages", Type: typeNames, Merge: mergeSet, Example: "[dnf]", Help: "Packages that must not get in; a dependency on one fails.", field: func(m *Manifest) any { return &m.ExcludePackages }},
	{Name: "version-locks", Type: typeNames, Merge: mergeSet, Example: "[bash-5.1.8-6.*, '!openssl-3.2*']", Help: "Packages that stay at a version, or with ! shun one: name-version[-release][.arch], globs allowed. grove versionlock writes this.", field: func(m *Manifest) any { return &m.VersionLocks }},
	{Name: "local-packages", Type: typeLocals, Merge: mergeList, Example: "[{nevra: tool-1.0-1.x86_64, sha256: " + exampleDigest + "}]", Help: "Packages that were given as files. grove install writes this.", field: func(m *Manifest) any { return &m.LocalPackages }},
	{Name: "replace-files", Type: typeNames, Merge: mergeSet, Example: "[vendor-tool]", Help: "Names of packages whose files may take the place of other packages' files, which is a conflict else. grove install --force-replacefiles writes this.", field: func(m *Manifest) any { return &m.ReplaceFiles }},
	{Name: "overrides", Type: typeOverrides, Merge: mergeList, Example: "{remove: [nano], replace: [{nevra: bash-5.2-1.x86_64}, {nevra: vim, repo: updates}]}", Help: "Changes to the base: packages taken out, packages exchanged by a file with its sha256, or by a source's, given by name or version and perhaps the source. By name alone: the newest, where that is newer than the base's. grove override writes this.", field: func(m *Manifest) any { return &m.Overrides }},
	{Name: "modules", Type: typeModules, Merge: mergeSet, Example: "{enable: ['ruby:2.7'], install: ['nodejs:18/minimal', perl]}", Help: "Streams of modules that the sources have: those to enable (name:stream, or name for the default one), those of which a profile is installed as well (name, name:stream, name:stream/profile; without one, the stream's default profiles), and names of modules to disable. Packages of other streams are not there. /etc/dnf/modules.d records the streams that count, as dnf does.", field: func(m *Manifest) any { return &m.Modules }},
	{Name: "platform-module", Type: typeString, Default: "what the os-release or the release package says", Merge: mergeOwn, Example: "platform:el8", Help: "The platform that streams of modules must be for.", expand: true, field: func(m *Manifest) any { return &m.PlatformModule }},
	{Name: "recommends", Type: typeBool, Default: "true", Merge: mergeOwn, Example: "false", Help: "Whether weak dependencies are installed.", field: func(m *Manifest) any { return &m.Recommends }},
	{Name: "documentation", Type: typeBool, Default: "true", Merge: mergeOwn, Example: "false", Help: "Whether files marked as documentation are kept.", field: func(m *Manifest) any { return &m.Documentation }},
	{Name: "install-langs", Type: typeNames, Default: "all", Merge: mergeSet, Example: "[en_US, de]", Help: "The languages whose files are kept.", field: func(m *Manifest) any { return &m.InstallLangs }},

	{Name: "add-files", Type: typeFilePairs, Merge: mergeList, Example: "[[motd, /etc/motd]]", Help: "Files beside the manifest to copy in.", field: func(m *Manifest) any { return &m.AddFiles }},
	{Name: "remove-files", Type: typeStrings, Merge: mergeList, Example: "[usr/share/man]", Help: "Paths to delete from the tree.", field: func(m *Manifest) any { return &m.RemoveFiles }},
	{Name: "remove-from-packages", Type: typeLists, Merge: mergeList, Example: "[[cpio, /usr/share/.*]]", Help: "Files of a package to leave out, by regular expressions.", field: func(m *Manifest) any { return &m.RemoveFromPackages }},
	{Name: "ostree-layers", Type: typeNames, Merge: mergeSet, Example: "[overlay/config]", Help: "Refs of the repo to merge in; a conflict is an error.", field: func(m *Manifest) any { return &m.OSTreeLayers }},
	{Name: "ostree-override-layers", Type: typeNames, Merge: mergeSet, Example: "[overlay/patch]", Help: "Refs of the repo to merge in; they win over packages.", field: func(m *Manifest) any { return &m.OSTreeOverrideLayers }},
	{Name: "postprocess", Type: typeStrings, Merge: mergeList, Example: "['#!/bin/sh\n\nsystemctl mask dnsmasq.service']", Help: "Scripts to run in the tree at the end.", field: func(m *Manifest) any { return &m.Postprocess }},
	{Name: "postprocess-script", Type: typePath, Merge: mergeOwn, Example: "post.sh", Help: "A script file to run after those.", field: func(m *Manifest) any { return &m.PostprocessScript }},
	{Name: "units", Type: typeNames, Merge: mergeSet, Example: "[sshd.service]", Help: "systemd units to enable.", field: func(m *Manifest) any { return &m.Units }},
	{Name: "default-target", Type: typeString, Merge: mergeOwn, Example: "multi-user.target", Help: "systemd's default target.", field: func(m *Manifest) any { return &m.DefaultTarget }},

	{Name: "container", Type: typeBool, Default: "false", Merge: mergeOwn, Example: "true", Help: "The tree has no kernel and no boot loader; tmp-is-dir is then on and selinux off.", field: func(m *Manifest) any { return &m.Container }},
	{Name: "selinux", Type: typeBool, Default: "true; false with container", Merge: mergeOwn, Example: "false", Help: "Whether files are labelled by the SELinux policy in the tree, if there is one; layers, if their base is labelled.", field: func(m *Manifest) any { return &m.SELinux }},
	{Name: "tmp-is-dir", Type: typeBool, Default: "false; true with container or from edition 2024", Merge: mergeOwn, Example: "true", Help: "/tmp is a directory, not a link.", field: func(m *Manifest) any { return &m.TmpIsDir }},
	{Name: "machineid-compat", Type: typeBool, Default: "true", Merge: mergeOwn, Example: "false", Help: "Make an empty /etc/machine-id.", field: func(m *Manifest) any { return &m.MachineIDCompat }},
	{Name: "opt-usrlocal", Type: typeString, Default: "var", Merge: mergeOwn, Example: "root", Help: "Where /opt and /usr/local live: var or root.", field: func(m *Manifest) any { return &m.OptUsrlocal }},
	{Name: "ima", Type: typeBool, Default: "false", Merge: mergeOwn, Example: "true", Help: "Keep the IMA signatures of packages, as security.ima.", field: func(m *Manifest) any { return &m.IMA }},
	{Name: "ignore-devices", Type: typeBool, Default: "true", Merge: mergeOwn, Example: "false", Help: "Leave out device nodes.", field: func(m *Manifest) any { return &m.IgnoreDevices }},
	{Name: "readonly-executables", Type: typeBool, Default: "false", Merge: mergeOwn, Example: "true", Help: "Take the write bit from executables.", field: func(m *Manifest) any { return &m.ReadonlyExecutables }},

	{Name: "etc-group-members", Type: typeNames, Merge: mergeSet, Example: "[wheel]", Help: "Groups kept in /etc/group, where people are added to them.", field: func(m *Manifest) any { return &m.EtcGroupMembers }},
	{Name: "check-passwd", Type: typeCheck, Default: "{type: previous}", Merge: mergeOwn, Example: "{type: file, filename: passwd}", Help: "What the users of the new tree must agree with: none, previous, file, data.", field: func(m *Manifest) any { return &m.CheckPasswd }},
	{Name: "check-groups", Type: typeCheck, Default: "{type: previous}", Merge: mergeOwn, Example: "{type: data, entries: {bin: 1, adm: 4}}", Help: "The same for groups.", field: func(m *Manifest) any { return &m.CheckGroups }},
	{Name: "ignore-removed-users", Type: typeNames, Merge: mergeSet, Example: "[root]", Help: "Users that may go.", field: func(m *Manifest) any { return &m.IgnoreRemovedUsers }},
	{Name: "ignore-removed-groups", Type: typeNames, Merge: mergeSet, Example: "[root]", Help: "Groups that may go.", field: func(m *Manifest) any { return &m.IgnoreRemovedGroups }},
	{Name: "preserve-passwd", Type: typeBool, Default: "true", Merge: mergeOwn, Example: "false", Help: "Keep the ids of the previous commit.", field: func(m *Manifest) any { return &m.PreservePasswd }},

	{Name: "add-commit-metadata", Type: typeValues, Merge: mergeByKey, Example: "{os.stream: testing, os.production: false}", Help: "Keys to put into the commit.", expand: true, field: func(m *Manifest) any { return &m.Metadata }},
	{Name: "mutate-os-release", Type: typeString, Merge: mergeOwn, Example: `"40"`, Help: "The text in os-release that the commit's version replaces.", expand: true, field: func(m *Manifest) any { return &m.MutateOSRelease }},
	{Name: "automatic-version-prefix", Type: typeString, Merge: mergeOwn, Example: `"${releasever}.<date:%Y%m%d>"`, Help: "The start of the commit's version; a number that counts up follows.", expand: true, field: func(m *Manifest) any { return &m.AutomaticVersionPrefix }},
	{Name: "automatic-version-suffix", Type: typeString, Default: `"."`, Merge: mergeOwn, Example: `"-"`, Help: "One character between prefix and number.", field: func(m *Manifest) any { return &m.AutomaticVersionSuffix }},
}

const exampleDigest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// ignoredKeys are rpm-ostree's, accepted so that its files load.
var ignoredKeys = ignored(map[string]string{
	"boot-location": noBoot, "initramfs-args": noBoot, "no-initramfs": noBoot, "kargs": noBoot,
	"rpmdb":                 "the database has the format that the rpm of the tree expects",
	"rpmdb-normalize":       "the database is always reproducible",
	"cliwrap":               "programs of the tree are never replaced",
	"cliwrap-binaries":      "programs of the tree are never replaced",
	"container-cmd":         "trees are not exported as container images",
	"metadata":              "for other tools",
	"rojig":                 "for other tools",
	"repo-metadata":         "the lock names every package with its source and checksum",
	"advisories-metadata":   "the lock names every package with its source and checksum",
	"selinux-label-version": "/usr/etc is always labelled as /etc",
	"sysusers":              "sysusers.d is always applied",
	"description":           oldKey, "osname": oldKey, "architecture": oldKey, "release": oldKey, "comment": oldKey,
})

const (
	noBoot = "a guest has no kernel or boot loader of its own"
	oldKey = "a word of the first treefiles"
)

func ignored(why map[string]string) []Key {
	var keys []Key
	for _, name := range sortedKeys(why) {
		keys = append(keys, Key{Name: name, Type: typeAny, Merge: mergeNone, Ignored: why[name]})
	}
	return keys
}

// findKey gives the row for a key as written: '_' is as good as '-'.
func findKey(written string) (Key, bool) {
	name := strings.ReplaceAll(written, "_", "-")
	for _, table := range [][]Key{ownKeys, ignoredKeys} {
		for _, k := range table {
			if k.Name == name && name != "packages-ARCH" {
				return k, true
			}
		}
	}
	// Not through name: packages-x86_64 has an underscore of its own.
	if arch, ok := strings.CutPrefix(written, "packages-"); ok && arch != "" && arch != "ARCH" {
		for _, k := range ownKeys {
			if k.Name == "packages-ARCH" {
				return k, true
			}
		}
	}
	return Key{}, false
}
