// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"io"
)

// diffWindow bounds how much of the old file is indexed at a time, four bytes of memory for each of its own. Of a larger file
// the window moves along: what was moved further than that is not found.
const diffWindow = 8 << 20

// differ makes a patch. It looks for places of the new file that are found in the old one (anchors), lets each grow to both sides
// as long as more bytes are the same than not, and writes what lies between as it is.
//
//	source  Colin Percival: Naive Differences of Executable Code, 2003
type differ struct {
	old, new []byte
	window   int
	index    *index
	base     int // of the index, in the old file
	stats    patchStats
}

// patchStats tells what a patch is made of.
type patchStats struct {
	blocks, changed, extra int64 // blocks; bytes in them that are not 0; bytes taken as they are
}

// anchor is a run of the new file that is also in the old one.
type anchor struct{ new, old, length int }

// writePatch writes what makes new of old, in blocks (see the package comment).
func writePatch(w io.Writer, old, new []byte, window int) (patchStats, error) {
	d := &differ{old: old, new: new, window: window}
	last := anchor{}
	for {
		next, more := d.anchor(last)
		ahead := d.forward(last, next.new)
		back := 0
		if more {
			back = d.backward(next, last)
		}
		if over := last.new + ahead - (next.new - back); over > 0 {
			keep := d.split(last, next, ahead, over)
			ahead, back = ahead-over+keep, back-keep
		}
		start := last.new + ahead
		end := next.new - back
		if err := d.write(w, last, ahead, start, end, next.old-back); err != nil {
			return d.stats, err
		}
		if !more {
			return d.stats, nil
		}
		last = anchor{end, next.old - back, next.length + back}
	}
}

// at is the old file's byte i, and false outside of it.
func (d *differ) at(i int) (byte, bool) {
	if i < 0 || i >= len(d.old) {
		return 0, false
	}
	return d.old[i], true
}

// same reports whether byte i of the new file is what the old one has at that distance.
func (d *differ) same(i, distance int) bool {
	b, ok := d.at(i + distance)
	return ok && b == d.new[i]
}

// better is by how many bytes a match must beat going on as before, to be worth a block of its own.
const better = 8

// goodRun is after how many same bytes ahead no other place is looked for: where a file repeats itself each look would take long.
const goodRun = 32

// run is how many bytes from pos on are what the old file has at that distance.
func (d *differ) run(pos, distance int) int {
	if at := pos + distance; at >= 0 && at < len(d.old) {
		return common(d.new[pos:], d.old[at:])
	}
	return 0
}

// anchor finds the next run of the new file, behind the last one, that fits better somewhere else in the old file than going on
// as before would. Without one it returns the end of the file, and false.
func (d *differ) anchor(last anchor) (anchor, bool) {
	distance := last.old - last.new
	pos := last.new + last.length
	counted, score := pos, 0 // of new[pos:counted] so many bytes are the same as at the old distance
	for pos < len(d.new) {
		if run := d.run(pos, distance); run >= goodRun { // no need to look for anything better
			pos += run
			counted, score = pos, 0
			continue
		}
		m := d.longest(pos)
		for end := min(pos+m.length, len(d.new)); counted < end; counted++ {
			if d.same(counted, distance) {
				score++
			}
		}
		switch {
		case m.length > score+better:
			return m, true
		case m.length == score && m.length > 0: // it is the same place: on behind it
			pos += m.length
			counted, score = pos, 0
			continue
		}
		if counted > pos && d.same(pos, distance) {
			score--
		}
		pos++
		counted = max(counted, pos)
		if counted == pos {
			score = 0
		}
	}
	return anchor{new: len(d.new)}, false
}

// longest finds where in the window most of new[pos:] is.
func (d *differ) longest(pos int) anchor {
	d.slide(pos)
	if d.index == nil {
		return anchor{new: pos}
	}
	at, n := d.index.longest(d.new[pos:])
	return anchor{pos, d.base + at, n}
}

// slide indexes the part of the old file in whose middle pos would lie if the files were stretched alike.
func (d *differ) slide(pos int) {
	if len(d.old) <= d.window {
		if d.index == nil && len(d.old) > 0 {
			d.index = newIndex(d.old)
		}
		return
	}
	middle := int(float64(pos) / float64(len(d.new)) * float64(len(d.old)))
	base := min(max(middle-d.window/2, 0), len(d.old)-d.window)
	if d.index != nil && base-d.base < d.window/2 && base >= d.base {
		return
	}
	base = min(base, len(d.old)-d.window)
	if d.index != nil && base == d.base {
		return
	}
	d.index, d.base = nil, base // the old index can go before the new one comes
	d.index = newIndex(d.old[base : base+d.window])
}

// forward is how far the last anchor's run goes on, up to limit, for most of its bytes to be the same.
func (d *differ) forward(last anchor, limit int) int {
	distance := last.old - last.new
	best, length, same := 0, 0, 0
	for i := 1; last.new+i <= limit && last.old+i <= len(d.old); i++ {
		if d.same(last.new+i-1, distance) {
			same++
		}
		if 2*same-i > 2*best-length {
			best, length = same, i
		}
	}
	return length
}

// backward is how far the next anchor's run can begin earlier.
func (d *differ) backward(next, last anchor) int {
	distance := next.old - next.new
	best, length, same := 0, 0, 0
	for i := 1; next.new-i >= last.new && next.old-i >= 0; i++ {
		if d.same(next.new-i, distance) {
			same++
		}
		if 2*same-i > 2*best-length {
			best, length = same, i
		}
	}
	return length
}

// split divides the over bytes that both runs claim: how many of them the first shall have.
func (d *differ) split(last, next anchor, ahead, over int) int {
	first, second := last.old-last.new, next.old-next.new
	start := last.new + ahead - over
	best, keep, gain := 0, 0, 0
	for i := range over {
		if d.same(start+i, first) {
			gain++
		}
		if d.same(start+i, second) {
			gain--
		}
		if gain > best {
			best, keep = gain, i+1
		}
	}
	return keep
}

// write writes a block: ahead bytes beside the last anchor's, what lies between start and end, and the way to where the next block
// begins in the old file.
func (d *differ) write(w io.Writer, last anchor, ahead, start, end, nextOld int) error {
	var head []byte
	head = appendOffset(head, int64(ahead))
	head = appendOffset(head, int64(end-start))
	head = appendOffset(head, int64(nextOld-(last.old+ahead)))
	if _, err := w.Write(head); err != nil {
		return err
	}
	var buf [32 << 10]byte
	for done := 0; done < ahead; {
		n := min(len(buf), ahead-done)
		for i := range n {
			b, _ := d.at(last.old + done + i)
			buf[i] = d.new[last.new+done+i] - b
			if buf[i] != 0 {
				d.stats.changed++
			}
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		done += n
	}
	d.stats.blocks++
	d.stats.extra += int64(end - start)
	_, err := w.Write(d.new[start:end])
	return err
}
