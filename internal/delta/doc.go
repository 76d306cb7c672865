// SPDX-License-Identifier: Apache-2.0

// Package delta reads and writes static deltas: files from which the objects of a commit are made, given those of an
// earlier commit or none.
//
// It does not fetch (package pull), and does not know where a repository keeps its deltas (package repo). libostree calls
// the format an implementation detail; what follows was read from its source (src/libostree/ostree-repo-static-delta-*.c)
// and is held against its program by the interop tests.
//
// # A delta
//
// A delta is a superblock and its parts. In a repository they lie in one folder, deltas/XX/REST, where XXREST is the
// checksum of the commit that it leads to, in base64 with _ for / and without padding; before it, where the delta does not
// begin at nothing, the one it begins at and a dash. The folder holds the files superblock, 0, 1, 2 and so on. With
// --inline the parts stand in the superblock and it is the only file.
//
// # The superblock
//
// GVariant (a{sv}tayay(a{sv}aya(say)sstayay)aya(uayttay)a(yaytt)), aligned as GVariant is, framing offsets at its end:
//
//	field       type        meaning
//	metadata    a{sv}       see below
//	timestamp   t           seconds since 1970, big endian: when it was made (ours: the commit's own time)
//	from        ay          0 or 32 bytes: the commit that must be there
//	to          ay          32 bytes
//	commit      (a{sv}...)  the commit object of to, byte for byte
//	parents     ay          deltas to be applied before, 64 bytes each; nobody writes any
//	parts       a(uayttay)  version (0), sha256 of the part file, its size, size of what it makes; objects
//	fallbacks   a(yaytt)    objects to be fetched as such: type, checksum, size as filez, size of the content
//
// Objects are 33 bytes each, without framing: one byte type (1 file, 2 dirtree, 3 dirmeta), 32 bytes checksum. The numbers in
// parts and fallbacks are in the byte order of the machine that made the delta. Metadata says which:
//
//	ostree.endianness             y     'l' little, 'B' big
//	deltas/XX/REST/N              (yay) part N, inline: the bytes of the part file
//	deltas/XX/REST/commitmeta     a{sv} the commit's detached metadata
//
// Deltas from before 2016 lack the key. Their order is guessed: the one in which the sizes are smaller.
//
// # A signed superblock
//
// GVariant (taya{sv}): the eight letters OSTSGNDT, the superblock, and signatures over its bytes by key, of which
// ostree.sign.ed25519 (aay of 64 bytes each) is known.
//
// # A part
//
// One byte: 0 for what follows is as it is, 'x' for it is one xz stream. Then GVariant (a(uuu)aa(ayay)ayay):
//
//	field       type        meaning
//	modes       a(uuu)      uid, gid, mode of file objects, big endian
//	xattrs      aa(ayay)    lists of xattrs: name with final NUL, value
//	data        ay          raw bytes that operations refer to
//	operations  ay          the program that makes the part's objects, in their order
//
// An operation is a letter and numbers. A number is a varint: seven bits a byte, the lowest first, the top bit set on all bytes
// but the last.
//
//	S  size offset                  a metadata object is data[offset:offset+size]
//	S  mode xattrs size offset      a file is data[offset:offset+size], or a symlink to it; mode and xattrs index the tables
//	o  mode xattrs size             a file of that size begins
//	w  size offset                  it goes on with data[offset:offset+size], or with that of the source's content
//	r  offset                       the source is the file object with the checksum data[offset:offset+32]
//	R                               there is no source any more
//	B  offset size                  the file is what the patch data[offset:offset+size] makes of the source
//	c                               the file ends; there is no source any more
//
// # A patch
//
// Blocks until the file is full: three numbers of 8 bytes (little endian, the top bit of the last byte is the sign), then as
// many bytes as the first says, to be added to the source's bytes from where it stands, then as many as the second says, to be
// taken as they are. Then the source's position goes on by the first and the third number. Where the source has no such byte it
// counts as 0. It is bsdiff's format without header and compression.
//
// # An index
//
// delta-indexes/XX/REST.index is an a{sv} with the key ostree.static-deltas, an a{sv} of the names (in hex, FROM-TO or TO)
// of all deltas to the commit XXREST: the sha256 of the superblock's bytes as ay. The summary has the same key for all
// deltas of the repository.
//
// # What is trusted
//
// Nothing. Sizes and offsets are bounded before memory is taken, and each object is held against its checksum before it is
// stored, so what a delta can do is fail. The commit's signature covers everything that the objects hold; a signed
// superblock adds only that the work to apply it is not done in vain.
package delta
