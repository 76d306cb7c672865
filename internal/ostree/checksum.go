// SPDX-License-Identifier: Apache-2.0

package ostree

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrCorrupt is wrapped by every error that says: these bytes are not the object that they should be.
var ErrCorrupt = errors.New("corrupt object")

// corrupt makes an error that wraps ErrCorrupt without repeating its text.
func corrupt(format string, args ...any) error {
	return &corruptError{fmt.Errorf(format, args...)}
}

type corruptError struct{ err error }

func (e *corruptError) Error() string        { return e.err.Error() }
func (e *corruptError) Unwrap() error        { return e.err }
func (e *corruptError) Is(target error) bool { return target == ErrCorrupt }

// Checksum names an object by its content.
//
//	shape   SHA-256, 32 bytes; 64 lower-case hex digits as text
type Checksum [32]byte

// ParseChecksum reads 64 lower-case hex digits.
func ParseChecksum(s string) (Checksum, error) {
	var c Checksum
	if len(s) != 2*len(c) {
		return Checksum{}, fmt.Errorf("parse checksum %.80q: %d characters, wanted %d", s, len(s), 2*len(c))
	}
	for i := 0; i < len(s); i++ {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return Checksum{}, fmt.Errorf("parse checksum %q: %q is no lower-case hex digit", s, s[i])
		}
	}
	_, err := hex.Decode(c[:], []byte(s))
	return c, err
}

// ChecksumFromBytes takes the 32 bytes of a checksum.
//
//	errors  ErrCorrupt if there are more or fewer
func ChecksumFromBytes(b []byte) (Checksum, error) {
	var c Checksum
	if len(b) != len(c) {
		return Checksum{}, corrupt("checksum has %d bytes, wanted %d", len(b), len(c))
	}
	copy(c[:], b)
	return c, nil
}

// SumBytes returns the checksum of a metadata object's bytes.
func SumBytes(data []byte) Checksum { return sha256.Sum256(data) }

// String returns the checksum as 64 lower-case hex digits.
func (c Checksum) String() string { return hex.EncodeToString(c[:]) }

// IsZero reports whether c is the zero Checksum, which names nothing.
func (c Checksum) IsZero() bool { return c == Checksum{} }

// Compare orders checksums by their bytes: -1, 0 or 1.
func (c Checksum) Compare(d Checksum) int { return bytes.Compare(c[:], d[:]) }

// MarshalText gives the hex form; the zero Checksum is the empty text.
func (c Checksum) MarshalText() ([]byte, error) {
	if c.IsZero() {
		return []byte{}, nil
	}
	return []byte(c.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (c *Checksum) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*c = Checksum{}
		return nil
	}
	got, err := ParseChecksum(string(text))
	if err != nil {
		return err
	}
	*c = got
	return nil
}
