// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"sync/atomic"

	"grove/internal/ostree"
)

// TxStats counts what a transaction did.
//
//	source  ostree src/libostree/ostree-repo.h, OstreeRepoTransactionStats
type TxStats struct {
	MetadataTotal, MetadataWritten int64 // metadata objects that were to be stored, and those that were not there before
	ContentTotal, ContentWritten   int64 // the same of file objects
	KnownFiles                     int64 // files that were hard links to objects
	ContentBytes                   int64 // length of the content of the file objects written
}

// txCounts is TxStats as it grows.
type txCounts struct {
	metaTotal, metaWritten, contentTotal, contentWritten, hits, bytes atomic.Int64
}

func (c *txCounts) asked(o object) {
	if o.t == ostree.TypeFile {
		c.contentTotal.Add(1)
	} else if o.t.IsMeta() {
		c.metaTotal.Add(1)
	}
}

func (c *txCounts) written(o object) {
	if o.t == ostree.TypeFile {
		c.contentWritten.Add(1)
	} else if o.t.IsMeta() {
		c.metaWritten.Add(1)
	}
}

// Stats returns what the transaction did so far.
func (tx *Tx) Stats() TxStats {
	c := &tx.stats
	return TxStats{MetadataTotal: c.metaTotal.Load(), MetadataWritten: c.metaWritten.Load(), ContentTotal: c.contentTotal.Load(),
		ContentWritten: c.contentWritten.Load(), KnownFiles: c.hits.Load(), ContentBytes: c.bytes.Load()}
}
