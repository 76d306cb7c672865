// SPDX-License-Identifier: Apache-2.0

// Package composefs writes composefs images: a file tree as one small EROFS file system whose regular files name, by
// overlayfs' redirect, the object that has their content.
//
// It reads names, owners, modes and extended attributes from a tree and what the caller knows of its file objects; it
// never walks a disk and mounts nothing. The kernel puts such an image above the objects:
//
//	mount -t overlay -o ro,lowerdir=IMAGE::OBJECTS,metacopy=on,redirect_dir=on overlay DIR
//
// The same tree gives the same bytes everywhere, and, with Options.Canonical, those that the mkcomposefs of the
// composefs project and libostree make: their fs-verity digest is what commits carry as ostree.composefs.digest.v0.
//
// How an image is laid out, all integers little-endian, in blocks of 4096 bytes:
//
//	offset 0      32 bytes that say which composefs format this is
//	       1024   the EROFS superblock, 128 bytes
//	       1152   inodes in breadth-first order, each at a multiple of 32: 32 bytes (compact) or 64 (extended), its
//	              own xattrs, then its tail: directory entries, a symlink's target, small content or chunk numbers
//	       ...    xattrs that more than one inode has, each once
//	       ...    from the next block on: directory entries and targets that did not fit behind their inode
//
//	source  containers/composefs libcomposefs/lcfs-writer-erofs.c, linux fs/erofs/erofs_fs.h, both for facts
package composefs
