// SPDX-License-Identifier: Apache-2.0

package sandbox

import "sync"

// tail is a writer that keeps the last limit bytes.
type tail struct {
	mu    sync.Mutex
	limit int
	buf   []byte
	cut   bool
}

func newTail(limit int) *tail { return &tail{limit: limit} }

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*t.limit {
		t.trim()
	}
	return len(p), nil
}

func (t *tail) trim() {
	if len(t.buf) > t.limit {
		t.cut = true
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-t.limit:]...)
	}
}

func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trim()
	out := append([]byte(nil), t.buf...)
	if t.cut {
		out = append([]byte("[... cut]\n"), out...)
	}
	return out
}
