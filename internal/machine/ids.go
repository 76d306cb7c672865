// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"

	"grove/internal/durable"
	"grove/internal/sandbox"
)

// idLocks is where systemd-nspawn locks a file for each range of ids that it picked, so that nobody else takes it.
//
//	source  systemd src/nspawn/nspawn.c, uid_shift_pick
const idLocks = "/run/systemd/nspawn-uid"

// Ranges that systemd-nspawn picks from.
//
//	source  systemd docs/UIDS-GIDS.md (container UIDs: 0x80000 to 0x6fffffff)
const (
	firstID  = 0x80000
	idRanges = 0x6fff - 0x8 + 1
)

// idRange are the ids that a guest has on the host while it runs.
type idRange struct {
	first uint32
	lock  *durable.Lock
	path  string
}

// takeIDs takes a range for the guest in that folder: the same each time, or the next one that no running guest has.
// Nothing on disk ever has these ids.
func takeIDs(ctx context.Context, locks, guestDir string) (idRange, error) {
	if err := os.MkdirAll(locks, 0o755); err != nil {
		return idRange{}, err
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(guestDir))
	for i := range uint32(idRanges) {
		first := firstID + (h.Sum32()%idRanges+i)%idRanges*sandbox.IDRange
		path := filepath.Join(locks, strconv.FormatUint(uint64(first), 10))
		lock, err := durable.Acquire(ctx, path, true, 0)
		if errors.Is(err, durable.ErrBusy) {
			continue
		}
		if err != nil {
			return idRange{}, err
		}
		return idRange{first, lock, path}, nil
	}
	return idRange{}, fmt.Errorf("take ids: all %d ranges in %s are taken", idRanges, locks)
}

// release gives the range back.
func (r idRange) release() {
	_ = os.Remove(r.path) // while it is locked: who waits for it looks again
	_ = r.lock.Release()
}
