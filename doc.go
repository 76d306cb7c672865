// SPDX-License-Identifier: Apache-2.0

// Package grove is the map of the program; the code stands in cmd/grove and internal.
//
// grove keeps guest operating systems: root trees made of an OSTree base plus layered RPM packages.
// What a person wants travels one road:
//
//	manifest -> plan -> tree -> commit -> deployment -> guest
//
// A manifest says which packages on which base; solve makes of it a plan; compose makes of the plan a tree,
// runs the scriptlets over it and commits it; deploy lays the commit out as a root; guest is the life of it all.
//
// The packages, bottom up. A package imports only packages of lower floors; internal/arch_test.go holds this.
//
//	1  durable    write-sync-rename, directory sync, symlink swap, lock
//	   gvariant   the serialisation OSTree uses
//	   keyfile    the text of repository configurations
//	   rpm        one package file: header, payload, scriptlets, versions
//	   sign       verify and make signatures (OpenPGP, ed25519)
//	   manifest   the declarative file and the lock
//	   accounts   passwd, group and sysusers.d as values
//	   rpmlua     the Lua that scriptlets are written in
//	   selinux    the label that a policy gives to a path
//	   verity     files that the kernel seals and measures
//	2  ostree     the object formats: bytes <-> values, checksums
//	   rpmdb      the database of installed packages
//	   solve      requests + packages -> plan, or the reason there is none
//	   fetch      get a URL: retry, resume, mirrors, verify
//	   sandbox    a contained run: namespaces, mounts, capabilities
//	3  tree       trees as values: merge, diff, edit, print
//	   rpmmd      the metadata of a source: repomd, primary, comps, cache
//	   trust      who vouches for what comes from a remote; signatures for others
//	4  repo       an OSTree repository on disk
//	   composefs  a tree as one small image over the repository's objects
//	5  importer   a package file becomes a package tree in the repo
//	   scriptlet  the scriptlets of packages, run over a root
//	   delta      static deltas: what leads from one commit to another, as files
//	   serve      hand out a repo over HTTP
//	   label      SELinux labels on trees
//	   image      composefs images: of bases for all, of layers for each, kept and sealed
//	   machine    run a command in a guest, boot it, make units of it
//	6  compose    a manifest becomes a commit: the list of steps
//	   pull       bring a commit and all it needs from a remote, verified
//	   deploy     how guests lie on disk: checkout or images, /etc merge, /var, the swap, gc
//	7  guest      a guest's life: create, install, upgrade, roll back, delete
//	   mirror     copies of upstreams on this site: OSTree remotes and rpm-md sources
//	8  cmd/grove  a file per verb
//	-  fixture    Copse Linux, the small distribution of the tests and of make demo
//
// To change ... look in:
//
//	what a manifest may say            internal/manifest/keys.go
//	how a package's paths are mapped   internal/importer
//	the order of scriptlets            internal/scriptlet
//	the steps from packages to commit  internal/compose/compose.go
//	what a kill may leave behind       internal/durable, internal/deploy
//	what a verb prints                 cmd/grove
//	what a byte of a repository means  doc/format.md, internal/ostree, internal/delta
package grove
