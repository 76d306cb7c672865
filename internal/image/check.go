// SPDX-License-Identifier: Apache-2.0

package image

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"grove/internal/composefs"
)

// DropDamaged takes away the images of bases that are not what they were made as: nobody is to stand on them any more, and
// they are made again when they are needed. It tells of each. The caller sees to it that nobody makes any meanwhile.
func (s *Store) DropDamaged() (faults []string, err error) {
	ents, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range ents {
		name, ok := strings.CutSuffix(e.Name(), imageSuffix)
		if !ok {
			continue
		}
		path, note := filepath.Join(s.dir, e.Name()), filepath.Join(s.dir, name+noteSuffix)
		f, _, ok := s.known(path, note)
		if !ok {
			continue // without its note nobody takes it
		}
		if err := holds(f); err != nil {
			fault := fmt.Sprintf("images/%s: %v; it is made again when it is needed", e.Name(), err)
			if err := errors.Join(os.Remove(note), os.Remove(path)); err != nil {
				fault = fmt.Sprintf("images/%s: is damaged, and stays: %v", e.Name(), err)
			}
			faults = append(faults, fault)
		}
	}
	return faults, nil
}

// holds tells whether an image has its digest.
func holds(f File) error {
	r, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer r.Close()
	got, err := composefs.MeasureVerity(r)
	if err == nil && got != f.Digest {
		err = fmt.Errorf("has digest %s, want %s", hex.EncodeToString(got[:]), hex.EncodeToString(f.Digest[:]))
	}
	return err
}
