// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bufio"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A build with cgo needs a loader and libraries, and the root of a container has its own or none. So a builtin is
// started by the host's loader with the host's libraries, all named by descriptors: nothing of the host is to be
// seen in the container, and the files are reached through read-only mounts of their own, so that nothing inside can
// write to them. The descriptors stand from runtimeFD on: the program, its loader, its libraries.
const (
	runtimeFD  = 100
	maxLibrary = 64 // this program has three
)

// runtimeFiles opens what a builtin is started with; nil where this program needs no loader.
//
//	source  ld.so(8): --argv0, --preload; a library that is preloaded serves everybody who needs its soname
func runtimeFiles() ([]*os.File, error) {
	loader, err := interpreter(selfExe)
	if err != nil || loader == "" {
		return nil, err
	}
	libraries, err := loaded(loader)
	if err != nil {
		return nil, err
	}
	files := make([]*os.File, 0, len(libraries)+2)
	for _, path := range append([]string{selfExe, loader}, libraries...) {
		f, err := openReadOnly(path)
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("open %s for the container: %w", path, err)
		}
		files = append(files, f)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// interpreter names the loader that a program asks for, "" for a static one.
func interpreter(program string) (string, error) {
	f, err := elf.Open(program)
	if err != nil {
		return "", fmt.Errorf("read own program: %w", err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > unix.PathMax {
			continue
		}
		text := make([]byte, p.Filesz)
		if _, err := p.ReadAt(text, 0); err != nil {
			return "", fmt.Errorf("read own program's loader: %w", err)
		}
		return filepath.EvalSymlinks(strings.TrimRight(string(text), "\x00"))
	}
	return "", nil
}

// loaded names the libraries that this process runs with.
//
//	source  proc_pid_maps(5)
func loaded(loader string) ([]string, error) {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil, fmt.Errorf("list own libraries: %w", err)
	}
	defer f.Close()
	self, err := os.Readlink(selfExe)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{loader: true, self: true}
	var out []string
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) != 6 || fields[1][2] != 'x' || !strings.HasPrefix(fields[5], "/") || seen[fields[5]] {
			continue
		}
		seen[fields[5]] = true
		out = append(out, fields[5])
	}
	if len(out) > maxLibrary {
		return nil, fmt.Errorf("this program has %d libraries, at most %d can be taken along", len(out), maxLibrary)
	}
	return out, nil
}

// openReadOnly opens a file through a read-only mount of its own; without the right to make one, whoever we are has no
// right to write to the file either, and it is opened as it is.
func openReadOnly(path string) (*os.File, error) {
	fd, err := cloneMount(unix.AT_FDCWD, path, false)
	if err != nil {
		return os.Open(path)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		return os.Open(path)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// builtinStart is how a builtin is started from this process: path, arguments, and descriptors by their number there.
func builtinStart(static string, args []string, first []uintptr) (path string, argv []string, files []uintptr) {
	argv = append([]string{builtinName}, args...)
	if !isOpen(runtimeFD) {
		return static, argv, first
	}
	files = append(files, first...)
	for len(files) < runtimeFD {
		files = append(files, ^uintptr(0))
	}
	var libraries []string
	for fd := runtimeFD; fd < runtimeFD+2+maxLibrary && isOpen(fd); fd++ {
		files = append(files, uintptr(fd))
		if fd >= runtimeFD+2 {
			libraries = append(libraries, fdPath(fd))
		}
	}
	loader := []string{"loader", "--argv0", builtinName, "--preload", strings.Join(libraries, ":"), fdPath(runtimeFD)}
	return fdPath(runtimeFD + 1), append(loader, args...), files
}

// keepRuntime lets no program that a builtin starts inherit the descriptors.
func keepRuntime() {
	for fd := runtimeFD; fd < runtimeFD+2+maxLibrary && isOpen(fd); fd++ {
		unix.CloseOnExec(fd)
	}
}
