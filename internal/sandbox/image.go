// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// openImage gives a detached, read-only mount of an EROFS image. Where the kernel does not mount a file by itself
// (before Linux 6.12, or on a file system such as tmpfs), a loop device carries it, which the kernel lets go together
// with the mount; with loop it does so in any case.
func openImage(image ImageFile, loop bool) (int, error) {
	f, err := os.Open(image.Path)
	if err != nil {
		return -1, err
	}
	defer f.Close()
	if image.Digest != nil {
		if err := holdAgainst(f, image.Digest); err != nil {
			return -1, fmt.Errorf("image %s: %w", image.Path, err)
		}
	}
	readAhead(f)
	if !loop {
		mfd, err := openErofs(fdPath(int(f.Fd()))) // by descriptor: a value of fsconfig has 255 bytes
		if err == nil || !errors.Is(err, unix.ENOTBLK) {
			return mfd, named(err, image.Path)
		}
	}
	dev, err := loopDevice(f)
	if err != nil {
		return -1, named(err, image.Path)
	}
	defer dev.Close()
	mfd, err := openErofs(dev.Name())
	return mfd, named(err, image.Path)
}

// An image is read ahead by so many bytes at a time, which is what the kernel takes of one request on any disk, and to so
// many at most: that of 140,000 files has 27 MB.
const (
	aheadStep  = 128 << 10
	aheadBytes = 64 << 20
)

// readAhead asks for an image to be brought into memory, and does not wait for it: who looks around in a tree reads all over
// its image, and EROFS reads what it needs of a file page by page.
func readAhead(f *os.File) {
	st, err := f.Stat()
	if err != nil {
		return
	}
	for off := int64(0); off < min(st.Size(), aheadBytes); off += aheadStep {
		if unix.Fadvise(int(f.Fd()), off, aheadStep, unix.FADV_WILLNEED) != nil {
			return // a hint, no more
		}
	}
}

func named(err error, path string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", path, err)
}

func openErofs(source string) (int, error) {
	fs, err := unix.Fsopen("erofs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open erofs: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "source", source); err != nil {
		return -1, fmt.Errorf("erofs source: %w", err)
	}
	if err := unix.FsconfigSetFlag(fs, "ro"); err != nil {
		return -1, fmt.Errorf("erofs read-only: %w", err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("mount image: %w", err)
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV)
}

// loopTries is how often another process may take the free device before us.
const loopTries = 64

// loopDevice makes a file a read-only block device. It goes away when neither the result nor a mount uses it.
func loopDevice(back *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("find a loop device: %w", err)
	}
	defer control.Close()
	for range loopTries {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a loop device: %w", err)
		}
		dev, err := os.OpenFile("/dev/loop"+strconv.Itoa(n), os.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open loop device: %w", err)
		}
		config := unix.LoopConfig{Fd: uint32(back.Fd()), Size: 4096}
		config.Info.Flags = unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &config)
		if err == nil {
			return dev, nil
		}
		dev.Close()
		if err != unix.EBUSY {
			return nil, fmt.Errorf("configure loop device %d: %w", n, err)
		}
	}
	return nil, fmt.Errorf("find a loop device: %d were taken by others", loopTries)
}

// Image is a composefs: EROFS images, the topmost first, whose files are in the folders Objects.
type Image struct {
	Files   []ImageFile
	Objects []string // the first that has an object counts
	Top     string   // a folder whose entries are seen above the images; "" = none
	Name    string   // what the kernel's table of mounts says is mounted; "" = "composefs"
	Verity  bool     // the kernel holds each file against the digest that the image has of it
	IDShift uint32   // the ids of the images are shown shifted by it; 0 = as they are
}

// ImageFile is one EROFS image.
type ImageFile struct {
	Path   string
	Digest []byte // what fs-verity must measure of the file; nil = it is not asked
}

// open gives a detached, read-only mount of the composefs.
//
//	errors  ErrNotPermitted
func (m Image) open() (int, error) { return m.openBy(false) }

// openBy is open; with loop the images are on loop devices, which leaves room for one more overlay above this one: the
// kernel allows two file systems on top of another, and an image that is mounted from its file is one.
//
//	source  linux include/linux/fs.h (FILESYSTEM_MAX_STACK_DEPTH)
func (m Image) openBy(loop bool) (int, error) {
	o := overlay{source: m.Name, readOnly: true}
	defer o.close()
	if err := m.addTo(&o, loop); err != nil {
		return -1, fmt.Errorf("mount composefs: %w", err)
	}
	fd, err := o.mount()
	if err != nil {
		return -1, fmt.Errorf("mount composefs %s: %w", m.what(), err)
	}
	return fd, nil
}

// Open mounts the composefs for this process only and gives its root: it goes away when that is closed. Nobody sees it
// at any path, and its own name, /proc/self/fd/N, leads to it as long as it is open, but not for who takes links apart.
//
//	errors  ErrNotPermitted
func (m Image) Open() (*os.File, error) {
	fd, err := m.open()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	root, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open composefs %s: %w", m.what(), err)
	}
	return os.NewFile(uintptr(root), fdPath(root)), nil
}

// TryScratch tells whether the kernel shows the composefs below a folder that takes what is written; nil = it does.
func (m Image) TryScratch(upper, work string) error {
	fd, err := rootOverlay(Spec{Root: upper, Image: &m, Upper: upper, Work: work})
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func (m Image) what() string {
	if len(m.Files) == 0 {
		return "of no image"
	}
	return m.Files[0].Path
}

// addTo puts the layers of the composefs below what the overlay has.
func (m Image) addTo(o *overlay, loop bool) error {
	if os.Geteuid() != 0 {
		return ErrNotPermitted
	}
	var users *os.File
	if m.IDShift != 0 {
		var err error
		if users, err = shiftedUsers(m.IDShift); err != nil {
			return err
		}
		defer users.Close()
	}
	if m.Top != "" {
		if err := o.addLower(m.Top); err != nil {
			return err
		}
	}
	for _, file := range m.Files {
		fd, err := openImage(file, loop)
		if err != nil {
			return err
		}
		if users != nil {
			attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(users.Fd())}
			if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
				unix.Close(fd)
				return fmt.Errorf("map the ids of %s: %w", file.Path, err)
			}
		}
		o.lower = append(o.lower, fd)
	}
	for _, dir := range m.Objects {
		fd, err := openDirPath(dir)
		if err != nil {
			return err
		}
		o.data = append(o.data, fd)
	}
	o.verity = m.Verity
	return nil
}

func openDirPath(dir string) (int, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", dir, err)
	}
	return fd, nil
}
