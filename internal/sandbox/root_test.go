// SPDX-License-Identifier: Apache-2.0

package sandbox_test

import (
	"os"
	"testing"

	"grove/internal/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Child(map[string]sandbox.Builtin{
		"echo": func(args []string, stdin []byte) int {
			os.Stdout.WriteString(args[0] + ":" + string(stdin))
			return len(args)
		},
		"keys": keysMain,
		"exhaust": func([]string, []byte) int {
			var keep [][]byte
			for {
				b := make([]byte, 64<<20)
				for i := 0; i < len(b); i += 4096 {
					b[i] = 1
				}
				keep = append(keep, b)
				if len(keep) > 100 {
					return 0
				}
			}
		},
	})
	os.Exit(m.Run())
}
