// SPDX-License-Identifier: Apache-2.0

package scriptlet

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"grove/internal/accounts"
)

// sysusersMain applies lines of sysusers.d to the accounts of the root: those that are there stay as they are.
func sysusersMain(_ []string, stdin []byte) int {
	var lines []string
	if err := gob.NewDecoder(bytes.NewReader(stdin)).Decode(&lines); err != nil {
		return complain(err)
	}
	return complain(applySysusers(lines))
}

func applySysusers(lines []string) error {
	before, db, err := readAccounts("/etc/")
	if err != nil {
		return err
	}
	_, alt, err := readAccounts("/usr/lib/")
	if err != nil {
		return err
	}
	out, err := accounts.SysusersOver(lines, db, accounts.DB{Users: alt.Users, Groups: alt.Groups})
	var refused *accounts.Refused
	if errors.As(err, &refused) {
		for _, p := range refused.Problems {
			fmt.Printf("warning: sysusers.d: %v\n", p)
		}
	} else if err != nil {
		return err
	}
	after := out.Format()
	for _, f := range []struct {
		name     string
		old, new []byte
		mode     fs.FileMode
	}{
		{"passwd", before.Passwd, after.Passwd, 0o644}, {"group", before.Group, after.Group, 0o644},
		{"shadow", before.Shadow, after.Shadow, 0}, {"gshadow", before.Gshadow, after.Gshadow, 0},
	} {
		if bytes.Equal(f.old, f.new) {
			continue
		}
		if err := os.WriteFile("/etc/"+f.name, f.new, f.mode); err != nil { // in the overlay: nobody else is there
			return err
		}
	}
	return nil
}

// readAccounts reads the account files of a folder; absent ones are empty.
func readAccounts(dir string) (accounts.Files, accounts.DB, error) {
	var text accounts.Files
	for name, to := range map[string]*[]byte{"passwd": &text.Passwd, "group": &text.Group, "shadow": &text.Shadow, "gshadow": &text.Gshadow} {
		f, err := os.OpenFile(dir+name, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return text, accounts.DB{}, err
		}
		*to, err = io.ReadAll(io.LimitReader(f, accountBytes))
		f.Close()
		if err != nil {
			return text, accounts.DB{}, err
		}
	}
	db, err := accounts.Parse(text)
	return text, db, err
}
