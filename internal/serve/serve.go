// SPDX-License-Identifier: Apache-2.0

// Package serve hands out an archive repository over HTTP, read only.
//
// Any static web server can do the same. It makes nothing on the fly but the configuration, of which clients get the [core]
// group only: remotes and their passwords stay here. It lists no folder and follows no link out of the repository; paths
// other than those that an OSTree client asks for are not found.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"grove/internal/ostree"
	"grove/internal/repo"
)

// Times that a client may take, and how long Run waits for those that are at it when it ends.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 120 * time.Second
	writeTimeout  = time.Hour // the largest object over the slowest line that is of use
	graceTime     = 5 * time.Second
)

// Caching: what is named by its content never changes; everything else is to be asked for each time.
const (
	cacheForever = "public, max-age=31536000, immutable"
	cacheNever   = "no-cache"
)

// coreKeys are the keys of the configuration that say something to a client.
var coreKeys = []string{"repo_version", "mode", "collection-id", "tombstone-commits", "indexed-deltas"}

// Handler serves r. For a repository that is no archive every answer is 500: clients could not read its objects.
func Handler(r *repo.Repo) http.Handler {
	if r.Mode() != repo.Archive {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			http.Error(w, modeError(r).Error(), http.StatusInternalServerError)
		})
	}
	h := &handler{r: r}
	h.buffers.New = func() any { return new([smallFile]byte) }
	return h
}

func modeError(r *repo.Repo) error {
	return fmt.Errorf("serve %s: mode is %v, wanted archive", r.Path(), r.Mode())
}

type handler struct {
	r       *repo.Repo
	buffers sync.Pool // *[smallFile]byte
}

func (h *handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	path := strings.TrimPrefix(req.URL.Path, "/")
	if path == "config" {
		w.Header().Set("Cache-Control", cacheNever)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, h.config())
		return
	}
	cache, ok := allowed(path)
	if !ok || !fs.ValidPath(path) {
		http.NotFound(w, req)
		return
	}
	h.file(w, req, path, cache)
}

// allowed tells whether clients ask for such a path, and how long they may keep what it is.
func allowed(path string) (cache string, ok bool) {
	switch path {
	case "summary", "summary.sig":
		return cacheNever, true
	}
	top, rest, _ := strings.Cut(path, "/")
	if rest == "" {
		return "", false
	}
	switch top {
	case "refs", "delta-indexes", "extensions", "deltas", "summaries":
		return cacheNever, true // a delta can be made again with other bytes
	case "objects":
		_, t, _, err := ostree.ParseObjectPath(rest)
		if err != nil {
			return "", false
		}
		if t == ostree.TypeCommitMeta || t == ostree.TypeTombstone {
			return cacheNever, true // signatures are added later
		}
		return cacheForever, true
	}
	return "", false
}

func (h *handler) config() string {
	var b strings.Builder
	b.WriteString("[core]\n")
	for _, key := range coreKeys {
		if v, ok := h.r.Config().Get("core", key); ok {
			fmt.Fprintf(&b, "%s=%s\n", key, v)
		}
	}
	return b.String()
}

// smallFile is up to what size a file is sent from memory: with its header in one or two writes, and few system calls.
const smallFile = 64 << 10

func (h *handler) file(w http.ResponseWriter, req *http.Request, path, cache string) {
	fd, err := h.open(path)
	if err != nil {
		http.NotFound(w, req)
		return
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		http.NotFound(w, req)
		return
	}
	head := w.Header()
	head.Set("Cache-Control", cache)
	head.Set("Content-Type", "application/octet-stream")
	var modified time.Time // of objects some writers set it to 0 or 1: as a date for If-Range it says nothing
	if cache == cacheForever {
		head.Set("Etag", `"`+strings.ReplaceAll(strings.TrimPrefix(path, "objects/"), "/", "")+`"`)
	} else {
		modified = time.Unix(st.Mtim.Unix())
		head.Set("Etag", fmt.Sprintf(`"%x-%x"`, modified.UnixNano(), st.Size))
	}
	if st.Size <= smallFile && plain(req) {
		defer unix.Close(fd)
		h.small(w, fd, st.Size, modified)
		return
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	http.ServeContent(w, req, "", modified, f)
}

// plain reports whether a request asks for all of a file, whatever the client has of it.
func plain(req *http.Request) bool {
	if req.Method != http.MethodGet {
		return false
	}
	for _, key := range [...]string{"Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		if _, ok := req.Header[key]; ok {
			return false
		}
	}
	return true
}

// small sends a file of which all is asked for.
func (h *handler) small(w http.ResponseWriter, fd int, size int64, modified time.Time) {
	buf := h.buffers.Get().(*[smallFile]byte)
	defer h.buffers.Put(buf)
	n := 0
	for n < int(size) {
		k, err := unix.Read(fd, buf[n:size])
		if err == unix.EINTR {
			continue
		}
		if err != nil || k == 0 {
			http.Error(w, "the file can not be read", http.StatusInternalServerError)
			return
		}
		n += k
	}
	head := w.Header()
	head.Set("Accept-Ranges", "bytes")
	head.Set("Content-Length", strconv.FormatInt(size, 10))
	if !modified.IsZero() {
		head.Set("Last-Modified", modified.UTC().Format(http.TimeFormat))
	}
	w.Write(buf[:n])
}

// open opens a file of the repository, in the folder that has its path now: somebody may have put a new one there. No link
// leads out of it, and a fifo is not waited for.
func (h *handler) open(path string) (int, error) {
	top, err := unix.Open(h.r.Path(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(top)
	how := unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := unix.Openat2(top, path, &how)
	switch err {
	case unix.ENOSYS, unix.EPERM, unix.EAGAIN: // an old kernel, a strict sandbox, or a rename beside us
		return h.openSlowly(path)
	}
	return fd, err
}

func (h *handler) openSlowly(path string) (int, error) {
	root, err := os.OpenRoot(h.r.Path())
	if err != nil {
		return -1, err
	}
	defer root.Close()
	f, err := root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	defer f.Close()
	return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

// Run serves r at addr ("host:port"; port 0 takes a free one) until ctx ends, then lets requests that are under way finish for
// a few seconds. ready, if not nil, is called once with the address that is listened at. The error is nil when ctx ended it.
func Run(ctx context.Context, addr string, r *repo.Repo, ready func(addr string)) error {
	if r.Mode() != repo.Archive {
		return modeError(r)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s := &http.Server{
		Handler: Handler(r), ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, IdleTimeout: idleTimeout,
		WriteTimeout: writeTimeout, MaxHeaderBytes: 64 << 10, ErrorLog: log.New(io.Discard, "", 0),
	}
	if ready != nil {
		ready(listener.Addr().String())
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(listener) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceTime)
	defer cancel()
	if err := s.Shutdown(grace); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("serve: %w", err)
	}
	return s.Close()
}
