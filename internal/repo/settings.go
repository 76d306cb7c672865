// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// settings are what the keys of the configuration say, read once when the repository is opened.
//
//	source  ostree src/libostree/ostree-repo.c, reload_core_config
type settings struct {
	fsync          bool
	perObjectFsync bool // sync each object by itself, so that others need not wait for a sync of the file system
	disableXattrs  bool // neither read nor written
	tombstones     bool // a deleted commit leaves a note
	autoSummary    bool // the summary follows the refs
	locking        bool
	tmpExpiry      time.Duration // how old what lies in tmp/ may become
	deflateLevel   int
	payloadBytes   uint64 // from what size on files of equal content share their blocks
	collectionID   string
}

// What counts where the configuration is silent; all libostree's but the level of compression.
const (
	defaultLockWait  = 300
	defaultTmpExpiry = 86400
)

func (c *Config) settings() (s settings, err error) {
	flag := func(key string, otherwise bool) (v bool) {
		v = otherwise
		if text, ok := c.k.Get("core", key); ok && err == nil {
			if v = parseBool(text, true); v != parseBool(text, false) {
				err = fmt.Errorf("core.%s is %q: want true or false", key, text)
			}
		}
		return v
	}
	if flag("archive", false) {
		return s, fmt.Errorf("core.archive is true: that form of repository, of 2012, is not read any more")
	}
	s.fsync = flag("fsync", true)
	s.perObjectFsync = flag("per-object-fsync", false)
	s.disableXattrs = flag("disable-xattrs", false)
	s.tombstones = flag("tombstone-commits", false)
	s.autoSummary = flag("auto-update-summary", false)
	s.autoSummary = flag("commit-update-summary", false) || s.autoSummary // its name before 2018
	s.locking = flag("locking", true)
	flag("add-remotes-config-dir", false)
	s.tmpExpiry = time.Duration(min(c.number("core", "tmp-expiry-secs", defaultTmpExpiry), 1<<32)) * time.Second
	s.deflateLevel = defaultDeflateLevel
	if _, ok := c.k.Get("archive", "zlib-level"); ok {
		s.deflateLevel = int(min(9, max(1, c.number("archive", "zlib-level", 0))))
	}
	s.payloadBytes = c.number("core", "payload-link-threshold", ^uint64(0))
	s.collectionID, _ = c.Get("core", "collection-id")
	if err == nil {
		err = c.checkFinders()
	}
	return s, err
}

// lockWait is how long the repository's lock is waited for; negative: until it is free.
func (c *Config) lockWait() time.Duration {
	return time.Duration(min(int64(c.number("core", "lock-timeout-secs", defaultLockWait)), 1<<32)) * time.Second
}

// number reads a number as C's strtoull does, which is how libostree reads them: what follows the digits is not looked
// at, no digits are 0, and a minus sign counts from the top.
func (c *Config) number(group, key string, otherwise uint64) uint64 {
	text, ok := c.k.Get(group, key)
	if !ok {
		return otherwise
	}
	text = strings.TrimLeft(text, " \t")
	digits := strings.TrimLeft(text, "+-")
	if len(text)-len(digits) > 1 {
		return 0
	}
	if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = digits[:end]
	}
	n, err := strconv.ParseUint(digits, 10, 64) // out of range is the largest number
	if err != nil && n == 0 {
		return 0
	}
	if strings.HasPrefix(text, "-") && n != ^uint64(0) {
		n = -n
	}
	return n
}

// checkFinders holds the list of places that refs may be looked for in against those that there are.
func (c *Config) checkFinders() error {
	text, ok := c.k.Get("core", "default-repo-finders")
	if !ok {
		return nil
	}
	finders := list(text)
	if len(finders) == 0 {
		return fmt.Errorf("core.default-repo-finders is empty")
	}
	for _, f := range finders {
		if f != "config" && f != "lan" && f != "mount" {
			return fmt.Errorf("core.default-repo-finders has %q: want config, lan or mount", f)
		}
	}
	return nil
}

// CollectionID names the collection that the repository's own refs belong to; "" for none.
func (r *Repo) CollectionID() string { return r.set.collectionID }
