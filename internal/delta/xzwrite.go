// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"errors"
	"fmt"
	"io"

	"github.com/ulikunitz/xz"

	"grove/internal/sandbox"
)

// Parts are compressed by the host's xz program, where there is one: what is written in Go takes twice the time and gives
// a quarter more. The program sees only what this one made; what comes from others is unpacked by Go code.
//
// The dictionary decides how much memory that takes, about twelve times its size; parts are 32 MB, and files that are
// alike lie side by side in them.
const xzDict = 4 << 20

// newXZWriter compresses what is written to it into w. Close writes the end of the stream; it must be called, also after
// an error.
func newXZWriter(w io.Writer) (io.WriteCloser, error) {
	p, err := sandbox.HostPipe(w, "xz", "--compress", "--stdout", "--check=crc64", "--threads=1", fmt.Sprintf("--lzma2=preset=6,dict=%d", xzDict))
	if errors.Is(err, sandbox.ErrNoProgram) {
		return newGoXZWriter(w)
	}
	return p, err
}

// newGoXZWriter is newXZWriter for hosts without the program.
func newGoXZWriter(w io.Writer) (io.WriteCloser, error) {
	return xz.WriterConfig{DictCap: xzDict, CheckSum: xz.CRC64}.NewWriter(w)
}
