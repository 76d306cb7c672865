// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"grove/internal/durable"
)

// Rule says which deployments of a guest GC keeps beside the current, pinned and running ones.
type Rule struct {
	Keep     int `json:"keep,omitempty"`      // how many of the newest, the one that a rollback leads to first; 0 = not said
	KeepDays int `json:"keep_days,omitempty"` // those made within so many days; 0 = not said
}

// ruleFile lies in the state root for all guests, and in a guest's folder for this one.
const ruleFile = "retention.json"

func (s *Store) rulePath(guest string) string {
	if guest == "" {
		return filepath.Join(s.root, ruleFile)
	}
	return filepath.Join(s.guest(guest).dir, ruleFile)
}

// Rule reads the rule that was set for a guest, or with "" that of all guests; zero where none is.
func (s *Store) Rule(guest string) (Rule, error) {
	var r Rule
	path := s.rulePath(guest)
	data, err := readLimited(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return r, fmt.Errorf("read %s: %w", path, err)
	}
	return r, r.Check()
}

// Check tells whether the numbers can be meant.
func (r Rule) Check() error {
	if r.Keep < 0 || r.KeepDays < 0 || r.KeepDays > maxDays {
		return fmt.Errorf("keep %d, keep_days %d: want numbers from 0, and days to %d", r.Keep, r.KeepDays, maxDays)
	}
	return nil
}

// maxDays is about a hundred years: a time.Duration has room for it.
const maxDays = 36500

// SetRule sets the rule of a guest, or with "" that of all guests. The caller holds the lock of the store.
func (s *Store) SetRule(guest string, r Rule) error {
	if err := r.Check(); err != nil {
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return durable.WriteFile(s.rulePath(guest), append(data, '\n'), 0o644)
}

// ruleFor is what counts for a guest: what o says, else the guest's own rule, else that of all guests, else one.
func (s *Store) ruleFor(guest string, o GCOptions) (Rule, error) {
	r := Rule{Keep: o.Keep, KeepDays: o.KeepDays}
	for _, from := range []string{guest, ""} {
		next, err := s.Rule(from)
		if err != nil {
			return r, err
		}
		if r.Keep == 0 {
			r.Keep = next.Keep
		}
		if r.KeepDays == 0 {
			r.KeepDays = next.KeepDays
		}
	}
	if r.Keep == 0 {
		r.Keep = 1
	}
	return r, nil
}

// young tells whether a deployment was made within the rule's days.
func (r Rule) young(d Deployment, now time.Time) bool {
	return r.KeepDays > 0 && now.Sub(d.Created) < time.Duration(min(r.KeepDays, maxDays))*24*time.Hour
}
