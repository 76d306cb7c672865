// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
	"grove/internal/repo"
)

// Usage is the room that a deployment takes on disk, in bytes.
type Usage struct {
	Unique int64 `json:"unique"` // what goes with it: its own files, and objects that nothing else holds but the package cache
	Shared int64 `json:"shared"` // objects that other deployments, or other refs, hold too
}

type objectID struct {
	t ostree.ObjectType
	c ostree.Checksum
}

// Usage measures the deployments that are named, as NAME/ID.
//
//	errors  ostree.ErrCorrupt, repo.ErrNotFound where objects are damaged or missing
func (s *Store) Usage(ctx context.Context, deployments []string) (map[string]Usage, error) {
	held, err := s.holdings()
	if err != nil {
		return nil, err
	}
	names := sortedKeys(held)
	var commits [][]ostree.Checksum
	for _, n := range names {
		commits = append(commits, held[n])
	}
	size := s.sizes()
	unique := map[string]int64{}
	err = s.repo.Owners(ctx, commits, func(t ostree.ObjectType, c ostree.Checksum, holder int) {
		if holder != repo.Several {
			unique[names[holder]] += size(objectID{t, c})
		}
	})
	if err != nil {
		return nil, err
	}
	whole := map[string]int64{} // of all objects, by the commits that need them
	out := map[string]Usage{}
	for _, d := range deployments {
		key := fmt.Sprint(held[d])
		if _, known := whole[key]; !known {
			var sum int64
			err := s.repo.Reach(ctx, held[d], func(t ostree.ObjectType, c ostree.Checksum) { sum += size(objectID{t, c}) })
			if err != nil {
				return nil, fmt.Errorf("what %s holds: %w", d, err)
			}
			whole[key] = sum
		}
		out[d] = Usage{Unique: unique[d] + s.folderBytes(d), Shared: whole[key] - unique[d]}
	}
	return out, nil
}

// frees says what each of the deployments frees when they are removed in this order: an object that several of them
// hold, and nobody else, goes with the last.
func (s *Store) frees(ctx context.Context, deployments []string) (map[string]int64, error) {
	held, err := s.holdings()
	if err != nil {
		return nil, err
	}
	reached, size := s.repo.NewReached(), s.sizes()
	for _, holder := range sortedKeys(held) {
		if !slices.Contains(deployments, holder) {
			if err := reached.Add(ctx, held[holder], nil); err != nil {
				return nil, fmt.Errorf("what %q holds: %w", holder, err)
			}
		}
	}
	out := map[string]int64{}
	for _, d := range slices.Backward(deployments) {
		sum := s.folderBytes(d)
		err := reached.Add(ctx, held[d], func(t ostree.ObjectType, c ostree.Checksum) { sum += size(objectID{t, c}) })
		if err != nil {
			return nil, fmt.Errorf("what %s holds: %w", d, err)
		}
		out[d] = sum
	}
	return out, nil
}

// holdings are the commits that each deployment holds, by NAME/ID, and under "" those that other refs do. The package
// cache counts for nobody.
func (s *Store) holdings() (map[string][]ostree.Checksum, error) {
	refs, err := s.repo.Refs("")
	if err != nil {
		return nil, err
	}
	out := map[string][]ostree.Checksum{}
	for _, r := range sortedKeys(refs) {
		if strings.HasPrefix(r, packageRefs) {
			continue
		}
		holder := ""
		if name, id, ok := parseRef(r); ok {
			holder = fmt.Sprintf("%s/%d", name, id)
		}
		out[holder] = append(out[holder], refs[r])
	}
	return out, nil
}

// sizes gives the bytes that an object takes on disk; each is looked at once.
func (s *Store) sizes() func(objectID) int64 {
	known := map[objectID]int64{}
	return func(o objectID) int64 {
		n, ok := known[o]
		if !ok {
			var st unix.Stat_t
			if unix.Lstat(s.repo.ObjectPath(o.t, o.c), &st) == nil {
				n = st.Blocks * 512
			}
			known[o] = n
		}
		return n
	}
}

// folderBytes is what a deployment's folder takes without the files that are links of the repo's: directories, /etc,
// and what lies beside the tree. What can not be read counts nothing.
func (s *Store) folderBytes(deployment string) (sum int64) {
	name, id, _ := strings.Cut(deployment, "/")
	dir := filepath.Join(s.guest(name).deploymentsDir(), id)
	root, etc := filepath.Join(dir, "root"), filepath.Join(dir, "root", "etc")
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if !d.IsDir() && strings.HasPrefix(path, root+"/") && !strings.HasPrefix(path, etc+"/") {
			return nil
		}
		if filepath.Dir(path) == filepath.Join(dir, imagesDir) && linksOf(path) == 2 {
			var st unix.Stat_t // the second link is that of the images kept for all, which count for nobody
			_ = unix.Lstat(path, &st)
			sum += st.Blocks * 512
			return nil
		}
		sum += ownBytes(path)
		return nil
	})
	return sum
}

func linksOf(path string) uint64 {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return 0
	}
	return uint64(st.Nlink)
}

// ownBytes is what a file or directory takes, nothing where it has further hard links.
func ownBytes(path string) int64 {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
		return 0
	}
	return st.Blocks * 512
}

// VarBytes is what the guest's /var takes on disk.
func (g *Guest) VarBytes() (sum int64, err error) {
	err = filepath.WalkDir(g.VarDir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		sum += ownBytes(path)
		return nil
	})
	return sum, err
}
