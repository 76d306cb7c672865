// SPDX-License-Identifier: Apache-2.0

package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"grove/internal/durable"
)

// ErrNotFound is wrapped by every error that says: this repository has no such ref, remote or object, or is none.
var ErrNotFound = errors.New("not found")

// ErrLost says that an object is not there that a commit needs: a file, or a directory. It is an ErrNotFound.
var ErrLost error = lost{}

type lost struct{}

func (lost) Error() string { return ErrNotFound.Error() }

func (lost) Is(target error) bool { return target == ErrNotFound }

// Mode says how a repository keeps file objects.
//
//	source  ostree src/libostree/ostree-core.h, OstreeRepoMode
type Mode uint8

const (
	Bare            Mode = iota // as files with their real owner, mode and xattrs
	BareUser                    // as files of one owner, the real metadata in an xattr
	BareUserOnly                // as files of one owner, without metadata beyond permission bits
	Archive                     // compressed, for serving
	BareSplitXattrs             // as files with owner and mode, the xattrs in objects of their own
)

var modeNames = [...]string{Bare: "bare", BareUser: "bare-user", BareUserOnly: "bare-user-only", Archive: "archive-z2",
	BareSplitXattrs: "bare-split-xattrs"}

// String returns the mode as the configuration file has it.
func (m Mode) String() string { return modeNames[m] }

// ParseMode reads a mode; archive and archive-z2 are the same.
func ParseMode(s string) (Mode, error) {
	if s == "archive" {
		return Archive, nil
	}
	for m, name := range modeNames {
		if s == name {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("mode %q: want bare, bare-user, bare-user-only, bare-split-xattrs or archive", s)
}

// Repo is an open repository. Its methods may be called from several goroutines.
type Repo struct {
	path    string
	mode    Mode
	config  *Config
	objects *os.File // the folder objects/, to open objects relative to it
	flat    bool     // a staging folder that is read as a repository
	parent  *Repo    // further objects, read only; nil for none

	leftover bool // a staging folder of a dead process: it goes when it is closed
	cache    metaCache
	workers  int
	set      settings
}

// maxParents bounds the chain of repositories that refer to a parent.
const maxParents = 8

// Open opens the repository at path.
//
//	errors  ErrNotFound if there is none
func Open(path string) (*Repo, error) { return openDepth(path, 0) }

func openDepth(path string, depth int) (*Repo, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	config, err := loadConfig(filepath.Join(path, "config"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open repository %s: %w", path, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", path, err)
	}
	r := &Repo{path: path, config: config, workers: max(2, runtime.GOMAXPROCS(0))}
	if err := r.configure(depth); err != nil {
		return nil, fmt.Errorf("open repository %s: %w", path, err)
	}
	if r.objects, err = os.Open(filepath.Join(path, "objects")); err != nil {
		return nil, fmt.Errorf("open repository %s: %w", path, err)
	}
	return r, nil
}

// configure takes from the configuration what the rest needs at each step.
func (r *Repo) configure(depth int) error {
	if v, _ := r.config.Get("core", "repo_version"); v != "1" {
		return fmt.Errorf("repo_version is %q, wanted 1", v)
	}
	mode, ok := r.config.Get("core", "mode")
	if !ok {
		mode = "bare"
	}
	var err error
	if r.mode, err = ParseMode(mode); err != nil {
		return err
	}
	if r.set, err = r.config.settings(); err != nil {
		return err
	}
	if _, _, err = r.config.minFree(); err != nil {
		return err
	}
	if p, ok := r.config.Get("core", "parent"); ok && p != "" {
		if depth >= maxParents {
			return fmt.Errorf("more than %d parents, one above the other", maxParents)
		}
		if !filepath.IsAbs(p) {
			p = filepath.Join(r.path, p)
		}
		if r.parent, err = openDepth(p, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// Init makes a repository at path, or opens the one that is there.
//
//	errors  if there is one of another mode, or something else is there
func Init(path string, mode Mode) (*Repo, error) { return InitWith(path, mode, InitOptions{}) }

// InitOptions are what a new repository's configuration says beside its mode.
type InitOptions struct {
	CollectionID string // what the repository's own refs belong to; "" for nothing
}

// InitWith is Init with further settings for a new repository; one that is there keeps its own.
func InitWith(path string, mode Mode, o InitOptions) (*Repo, error) {
	r, err := Open(path)
	if err == nil {
		if r.mode != mode {
			r.Close()
			return nil, fmt.Errorf("init %s: there is a repository of mode %s, wanted %s", path, r.mode, mode)
		}
		return r, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if err := layOut(path, mode, o); err != nil {
		return nil, fmt.Errorf("init %s: %w", path, err)
	}
	return Open(path)
}

// layOut makes the folders and, last, the configuration that makes a repository of them.
func layOut(path string, mode Mode, o InitOptions) error {
	if err := durable.MkdirAll(path, 0o755); err != nil {
		return err
	}
	if ents, err := os.ReadDir(path); err != nil {
		return err
	} else if n := foreign(ents); n != "" {
		return fmt.Errorf("%s is there and this is no repository", n)
	}
	dirs := []string{"objects", "tmp/cache", "state", "extensions", "refs/heads", "refs/remotes", "refs/mirrors"}
	for _, d := range dirs {
		if err := durable.MkdirAll(filepath.Join(path, d), 0o755); err != nil {
			return err
		}
	}
	text := "[core]\nrepo_version=1\nmode=" + mode.String() + "\n"
	if o.CollectionID != "" {
		text += "collection-id=" + o.CollectionID + "\n"
	}
	return durable.WriteFile(filepath.Join(path, "config"), []byte(text), 0o644)
}

// foreign names an entry that an interrupted Init cannot have made; "" if there is none.
func foreign(ents []fs.DirEntry) string {
	ours := map[string]bool{"objects": true, "tmp": true, "state": true, "extensions": true, "refs": true, ".lock": true}
	for _, e := range ents {
		if !ours[e.Name()] && !durable.IsLeftover(e.Name()) {
			return e.Name()
		}
	}
	return ""
}

// Close gives back what Open holds. A Repo may also simply be forgotten.
func (r *Repo) Close() error {
	if r.parent != nil {
		r.parent.Close()
	}
	if r.leftover {
		os.RemoveAll(r.path)
	}
	return r.objects.Close()
}

// Path returns the repository's folder, absolute.
func (r *Repo) Path() string { return r.path }

// Workers returns how many goroutines work beside each other on what takes computing.
func (r *Repo) Workers() int { return r.workers }

// Mode returns how file objects are kept.
func (r *Repo) Mode() Mode { return r.mode }

// Config returns the configuration. Changes count for what is opened afterwards.
func (r *Repo) Config() *Config { return r.config }

// SyncNothing makes this Repo leave it to the kernel when what it writes comes to disk, as core.fsync=false does: a crash of
// the machine may then leave damaged objects and refs.
func (r *Repo) SyncNothing() { r.set.fsync = false }

// writeFile makes path hold data: a reader sees the old or the new, and it is on disk then, unless core.fsync says that nothing
// has to be.
func (r *Repo) writeFile(path string, data []byte) error {
	if r.set.fsync {
		return durable.WriteFile(path, data, 0o644)
	}
	return durable.WriteFileNoSync(path, data, 0o644)
}

// removeFile deletes a file, as writeFile writes one.
//
//	errors  fs.ErrNotExist if there is none
func (r *Repo) removeFile(path string) error {
	if r.set.fsync {
		return durable.Remove(path)
	}
	return durable.RemoveNoSync(path)
}

// makeDirs makes a folder and those above it, likewise.
func (r *Repo) makeDirs(path string) error {
	if r.set.fsync {
		return durable.MkdirAll(path, 0o755)
	}
	return os.MkdirAll(path, 0o755)
}

// SyncEachObject makes this Repo bring each object to disk when it is written, as core.per-object-fsync=true does: slower, but
// others on the file system do not wait for one large sync.
func (r *Repo) SyncEachObject() { r.set.perObjectFsync = true }

// objdir is the descriptor of objects/.
func (r *Repo) objdir() int { return int(r.objects.Fd()) }

// lock takes the repository's lock as libostree does: shared to write objects and refs, exclusive to delete objects.
func (r *Repo) lock(ctx context.Context, exclusive bool) (*durable.Lock, error) {
	if !r.set.locking {
		return nil, nil
	}
	return durable.Acquire(ctx, filepath.Join(r.path, ".lock"), exclusive, r.config.lockWait())
}

// touch sets the repository folder's time, by which other processes see that refs changed.
func (r *Repo) touch() {
	unix.UtimesNanoAt(unix.AT_FDCWD, r.path, nil, 0) // only a hint: no harm where it fails
}
