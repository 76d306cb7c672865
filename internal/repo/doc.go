// SPDX-License-Identifier: Apache-2.0

// Package repo keeps an OSTree repository on disk: objects, refs, commits, checkouts, prune, fsck, summary.
//
// It does not know what a tree means (package tree), what objects look like inside (package ostree), remotes beyond
// their configuration (package pull), or guests. It is compatible with libostree: either may work on the other's
// repository, also at the same time.
//
// # Who may do what while who works
//
// Readers take no lock. Who writes objects or refs (Begin) holds .lock shared, who deletes objects (Prune) exclusively;
// libostree takes the same lock in the same way. Lock order: .lock first, the staging folder's own lock second.
//
// # What a crash leaves
//
// A transaction collects objects in tmp/grove-staging-BOOT-RANDOM, which it holds locked. Commit syncs the file system
// once, then moves objects into place: content first, then, when that is on disk, commits, then refs, each ref by its
// own durable rename. So whatever is cut off, each commit that can be found is whole, and each ref is old or new. What is left
// is a staging folder that nobody holds a lock on, and objects that nothing refers to: the next Begin deletes the
// first, the next Prune the others.
//
// # Invariants
//
// An object's name is the checksum of what it holds. Metadata is verified each time it is read, content by Fsck, by
// pulls, by whatever makes another object or a copy of it, but not by checkouts of bare repositories, which make hard
// links or let the kernel copy. Objects are regular files (in bare
// repositories a symlink object is a symlink); whatever else lies under an object's name is refused.
package repo
