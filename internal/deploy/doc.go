// SPDX-License-Identifier: Apache-2.0

// Package deploy keeps how guests lie on disk: a commit that was checked out becomes a deployment of a guest, with its
// own /etc and the guest's /var.
//
// It does not decide what is in a tree (compose), does not check trees out (repo) and runs nothing (machine).
//
//	ROOT/repo/  ROOT/cache/  ROOT/images/  ROOT/config.json  ROOT/.lock
//	ROOT/guests/NAME/current          -> deployments/ID; its swap is the one commit point
//	ROOT/guests/NAME/manifest.yaml    -> current/manifest.yaml
//	ROOT/guests/NAME/var/             the guest's /var
//	ROOT/guests/NAME/deployments/ID/  root/ images/ manifest.yaml lock.json deployment.json scripts.log .running
//
// A deployment is of one of two kinds. Of a checkout, root/ is the tree. Of composefs, images/ has the image of its base,
// a hard link to the one in ROOT/images that all guests on that base share, and perhaps one of what stands on it, and
// root/ has nothing but etc/: the tree is mounted where it is used.
//
// # States of a deployment
//
//	staged    deployments/.stage-ID-PID, its folder locked by the process that builds it
//	pending   deployments/ID beside the marker deployments/.pending-ID: whole and on disk, not yet swapped in
//	current   what `current` names
//	kept      every other number; held by its ref until gc or RemoveDeployment
//
// A kill leaves a staged or a pending deployment, or a reference without deployment; the next Open or Stage that
// can be sure that nobody is at work there removes them. A pending deployment that `current` names is done, and
// only loses its marker. A guest whose first deployment was never swapped in carries the marker .unfinished
// and is removed as a whole.
//
// # Locks
//
// The store's lock first, then the guest's. Whoever changes a guest holds the store shared and the guest
// exclusively; GC holds the store exclusively, which keeps everybody else out. The methods here that change
// something expect their caller to hold the locks, but for GC, which takes its own.
//
// # Invariants
//
// Each deployment is held by the ref grove/guest/NAME/ID, and its base by grove/base/NAME/ID where that is another
// commit. Numbers are never used twice. Regular files of root/ outside etc are hard links into the repo and never
// written; images have the digests that deployment.json says. Nothing that lies in a guest's /etc or /var is followed out of it: each step is taken relative to an open
// directory, without following links. Check states all of this.
package deploy
