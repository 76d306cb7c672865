// SPDX-License-Identifier: Apache-2.0

package gvariant

// Framing: a container whose members vary in size ends with a table of offsets, each the end of a member counted
// from the container's start. Their width is the smallest of 1, 2, 4, 8 bytes that can express the size of the
// whole container, table included. Arrays list every element in order; tuples list all variable members but
// the last, in reverse.

// widthOf returns the width of the framing offsets in a container of the given total size.
func widthOf(totalSize int) int {
	switch {
	case totalSize <= 0xff:
		return 1
	case totalSize <= 0xffff:
		return 2
	case totalSize <= 0xffffffff:
		return 4
	}
	return 8
}

// widthFor returns the width that a writer must choose for n offsets behind a body.
func widthFor(bodySize, n int) int {
	for _, w := range []int{1, 2, 4} {
		if widthOf(bodySize+n*w) <= w {
			return w
		}
	}
	return 8
}

// AppendOffsets closes a container that began at dst[start]: it appends the framing offsets ends, in the order
// given, in the right width. For writers that lay out large containers without making a Value of each part.
//
//	units   ends are byte positions relative to start; for a tuple the caller gives them in reverse
func AppendOffsets(dst []byte, start int, ends ...int) []byte {
	width := widthFor(len(dst)-start, len(ends))
	for _, e := range ends {
		for i := 0; i < width; i++ {
			dst = append(dst, byte(uint64(e)>>(8*i)))
		}
	}
	return dst
}

// readOffset reads the offset of the given width at data[at:]. ok is false if it lies outside of data or
// points behind its end.
func readOffset(data []byte, at, width int) (end int, ok bool) {
	if at < 0 || at+width > len(data) {
		return 0, false
	}
	var n uint64
	for i := width - 1; i >= 0; i-- {
		n = n<<8 | uint64(data[at+i])
	}
	if n > uint64(len(data)) {
		return 0, false
	}
	return int(n), true
}

// cursor walks over the members of a tuple or dictionary entry in order.
type cursor struct {
	t     *typ
	data  []byte
	width int
	next  int // index of the next member
	pos   int // end of the last member
	tail  int // start of the framing offsets used so far
}

func newCursor(t *typ, data []byte) cursor {
	return cursor{t: t, data: data, width: widthOf(len(data)), tail: len(data)}
}

// step returns the bounds of the next member, padding before it not included. ok is false if they are impossible.
func (c *cursor) step() (m *typ, start, end int, ok bool) {
	m = c.t.elems[c.next]
	start = alignUp(c.pos, m.align)
	switch {
	case m.fixed > 0:
		end = start + m.fixed
	case c.next == len(c.t.elems)-1:
		end = c.tail
	default:
		c.tail -= c.width
		if end, ok = readOffset(c.data, c.tail, c.width); !ok {
			return m, 0, 0, false
		}
	}
	if start > end || end > c.tail {
		return m, 0, 0, false
	}
	c.next++
	c.pos = end
	return m, start, end, true
}

// arrayLen returns the number of elements and the start of the offset table. ok is false if data is no array of t.
func arrayLen(t *typ, data []byte) (n, table int, ok bool) {
	e := t.elems[0]
	switch {
	case e.fixed > 0:
		return len(data) / e.fixed, len(data), len(data)%e.fixed == 0
	case len(data) == 0:
		return 0, 0, true
	}
	w := widthOf(len(data))
	table, ok = readOffset(data, len(data)-w, w)
	size := len(data) - table
	if !ok || size == 0 || size%w != 0 {
		return 0, 0, false
	}
	return size / w, table, true
}

// element returns the bounds of element i of an array; ok is false if they are impossible.
func element(t *typ, data []byte, i, table int) (start, end int, ok bool) {
	e := t.elems[0]
	if e.fixed > 0 {
		return i * e.fixed, (i + 1) * e.fixed, true
	}
	w := widthOf(len(data))
	if i > 0 {
		prev, ok := readOffset(data, table+(i-1)*w, w)
		if !ok {
			return 0, 0, false
		}
		start = alignUp(prev, e.align)
	}
	end, ok = readOffset(data, table+i*w, w)
	return start, end, ok && start <= end && end <= table
}
