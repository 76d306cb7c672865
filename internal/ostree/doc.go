// SPDX-License-Identifier: Apache-2.0

// Package ostree turns the objects of OSTree into values and back: dirtree, dirmeta, commit, file and filez, the
// summary and detached metadata, and the names of refs and remotes.
//
// It opens no files and knows no repository: where objects lie and who may write them is package repo's; what trees
// mean together is package tree's. It never compresses: filez objects are read and written up to where the deflate
// stream begins.
//
// Invariants: what a Parse function accepts, Encode turns into the same bytes again, so no object can be read and
// written back under another name; what it refuses is [ErrCorrupt]. Names that could lead out of a directory,
// unsorted and doubled entries, modes that are no file's, and sizes beyond the limits are refused.
//
// # The format in short
//
// An object's name is the SHA-256 of its bytes, and objects name each other, so that a commit's name vouches for
// everything below it:
//
//	ref -> commit -> dirtree -> dirtree ...     what a directory holds, by name
//	              \          \-> dirmeta        a directory's own owner, mode, xattrs
//	               \          \-> file          owner, mode, xattrs, symlink target, content
//	                \-> dirmeta                 of the root
//
// All but file objects are GVariant: members one after another at their alignment, strings ending with NUL, and
// behind the last member a table with the end of each member whose size varies, each offset as wide as the size of
// the whole needs (1 byte up to 255). OSTree's own numbers are big-endian; numbers in metadata, which OSTree does not
// look into, are in the order of their maker's machine.
//
// # One object in hex
//
// The dirtree of a directory that holds the symlink a -> b and an empty directory sub, root's, 0755. Its type is
// (a(say)a(sayay)); its name is
// 97316055c86514e219fdaaa9759fff2589cd1c03c901fb5c12dd4dfab33c36b5.
//
//	61 00                                            files[0]: name with NUL
//	55 ab a0 4a a6 e3 bf 62 4b 4d 69 8f 9f d9 c9 71  file object
//	1a c2 58 7c 79 08 2e 9f 5e 34 7c e0 f2 88 e8 ff  ...
//	02                                               end of the name, counted from the start of this entry
//	23                                               end of files[0], counted from the start of files
//	73 75 62 00                                      dirs[0]: name
//	6e 34 0b 9c ff b3 7a 98 9c a5 44 e6 bb 78 0a 2c  dirtree (of every empty directory)
//	78 90 1d 3f b3 37 38 76 85 11 a3 06 17 af a0 1d  ...
//	44 6a 0e f1 1b 7c c1 67 f3 b6 03 e5 85 c7 ee ee  dirmeta (of every 0755 directory of root)
//	b6 75 fa a4 12 d5 ec 73 f6 29 88 eb 0b 6c 54 88  ...
//	24 04                                            ends of dirtree and name: in a tuple the table runs backwards
//	46                                               end of dirs[0], counted from the start of dirs
//	24                                               end of files; dirs, the last member, needs no offset
//
// The file object that it names is the symlink a -> b: no content, so its name is the SHA-256 of the header alone,
// with the header's length (0x13, 19 bytes, big-endian) and four zero bytes before it: uid, gid, mode 0o120777, rdev,
// target, xattrs (none, so no bytes), and the end of the target.
//
//	00000013 00000000  00000000 00000000 0000a1ff 00000000  6200  12
//
// In an archive repository the same header has the uncompressed size before uid (64-bit big-endian), and the raw
// deflate stream of the content follows.
package ostree
