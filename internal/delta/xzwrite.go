// SPDX-License-Identifier: Apache-2.0

package delta

// #cgo pkg-config: liblzma
// #include <stdlib.h>
// #include <string.h>
// #include <lzma.h>
//
// // A stream lies in C's memory, and keeps no pointer to Go's between two calls.
// static lzma_stream *xz_new(void) { return calloc(1, sizeof(lzma_stream)); }
//
// static int xz_begin(lzma_stream *s, uint32_t preset, uint32_t dict) {
//	lzma_options_lzma o;
//	if (lzma_lzma_preset(&o, preset)) return LZMA_OPTIONS_ERROR;
//	o.dict_size = dict;
//	lzma_filter f[] = {{LZMA_FILTER_LZMA2, &o}, {LZMA_VLI_UNKNOWN, NULL}};
//	return lzma_stream_encoder(s, f, LZMA_CHECK_CRC64);
// }
//
// static int xz_code(lzma_stream *s, const uint8_t *in, size_t *n, uint8_t *out, size_t *room, int finish) {
//	s->next_in = in; s->avail_in = *n; s->next_out = out; s->avail_out = *room;
//	int err = lzma_code(s, finish ? LZMA_FINISH : LZMA_RUN);
//	*n = s->avail_in; *room = s->avail_out;
//	s->next_in = NULL; s->next_out = NULL;
//	return err;
// }
//
// static void xz_free(lzma_stream *s) { lzma_end(s); free(s); }
import "C"

import (
	"errors"
	"fmt"
	"io"
	"unsafe"
)

// Parts are compressed by liblzma: what is written in Go takes twice the time and gives a quarter more. It sees only what this
// program made; what comes from others is unpacked by Go code.
//
// The dictionary decides how much memory that takes, about twelve times its size; parts are 32 MB, and files that are alike lie
// side by side in them.
const (
	xzPreset = 6
	xzDict   = 4 << 20
	xzBuffer = 256 << 10
)

// xzWriter compresses what is written to it into w.
type xzWriter struct {
	w   io.Writer
	s   *C.lzma_stream
	buf []byte
}

func newXZWriter(w io.Writer) (*xzWriter, error) {
	s := C.xz_new()
	if s == nil {
		return nil, errors.New("compress: no memory")
	}
	x := &xzWriter{w, s, make([]byte, xzBuffer)}
	if code := C.xz_begin(s, xzPreset, xzDict); code != C.LZMA_OK {
		x.free()
		return nil, fmt.Errorf("compress: liblzma says %d", code)
	}
	return x, nil
}

func (x *xzWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return len(p), x.code(p, false)
}

// code hands p to the library and passes on what it makes, with finish to the end.
func (x *xzWriter) code(p []byte, finish bool) error {
	if x.s == nil {
		return errors.New("compress: closed")
	}
	for {
		left, room := C.size_t(len(p)), C.size_t(len(x.buf))
		flag := C.int(0)
		if finish {
			flag = 1
		}
		code := C.xz_code(x.s, (*C.uint8_t)(unsafe.SliceData(p)), &left, (*C.uint8_t)(unsafe.SliceData(x.buf)), &room, flag)
		p = p[len(p)-int(left):]
		if n := len(x.buf) - int(room); n > 0 {
			if _, err := x.w.Write(x.buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case code == C.LZMA_STREAM_END:
			return nil
		case code != C.LZMA_OK:
			return fmt.Errorf("compress: liblzma says %d", code)
		case !finish && len(p) == 0:
			return nil
		}
	}
}

// Close writes the end of the stream. It must be called, also after an error.
func (x *xzWriter) Close() error {
	if x.s == nil {
		return nil
	}
	defer x.free()
	return x.code(nil, true)
}

func (x *xzWriter) free() {
	if x.s != nil {
		C.xz_free(x.s)
		x.s = nil
	}
}
