// SPDX-License-Identifier: Apache-2.0

// Package ostree turns the objects of OSTree into values and back: dirtree, dirmeta, commit, file and filez, the
// summary and detached metadata, and the names of refs and remotes.
//
// It opens no files and knows no repository: where objects lie and who may write them is package repo's; what trees
// mean together is package tree's. It never compresses: filez objects are read and written up to where the deflate
// stream begins.
package ostree
