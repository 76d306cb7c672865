// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is a terminal that only shows text. What grove prints comes from packages, refs, file names and servers' answers in
// many places: a control character in any of it could move the cursor over other lines, or have the terminal type.
type screen struct {
	f    *os.File
	last []byte // what was written last, as far as it may begin a character
}

// onScreen gives the writer for one of the program's own outputs. What is no terminal gets each byte as it is.
func onScreen(f *os.File) io.Writer {
	if !term.IsTerminal(int(f.Fd())) {
		return f
	}
	return &screen{f: f}
}

func (s *screen) Write(p []byte) (int, error) {
	all := append(s.last, p...)
	_, err := s.f.Write(visible(all, len(s.last)))
	s.last = append([]byte(nil), all[max(0, len(all)-utf8.UTFMax+1):]...)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// visible gives the bytes from one on, control characters but tab and newline as \xNN: those of ASCII, and of the second set
// alone and in UTF-8.
func visible(p []byte, from int) []byte {
	out := make([]byte, 0, len(p)-from)
	for i := from; i < len(p); i++ {
		switch c := p[i]; {
		case c < ' ' && c != '\t' && c != '\n', c == 0x7f, 0x80 <= c && c < 0xa0 && !continues(p, i):
			out = fmt.Appendf(out, `\x%02x`, c)
		default:
			out = append(out, c)
		}
	}
	return out
}

// continues tells whether the byte at i, of 0x80 to 0x9f, is part of a character that is no control: U+0080 to U+009F begin
// with 0xc2.
func continues(p []byte, i int) bool {
	for n := 1; n < utf8.UTFMax && n <= i; n++ {
		switch c := p[i-n]; {
		case c >= 0xf0:
			return true
		case c >= 0xe0:
			return n <= 2
		case c >= 0xc0:
			return n == 1 && c > 0xc2
		case c < 0x80:
			return false
		}
	}
	return false
}

// fileOf is the file behind one of the program's own outputs, for a command that is handed it; nil = none.
func fileOf(w io.Writer) *os.File {
	if s, ok := w.(*screen); ok {
		return s.f
	}
	f, _ := w.(*os.File)
	return f
}
