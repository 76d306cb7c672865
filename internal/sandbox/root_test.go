// SPDX-License-Identifier: Apache-2.0

package sandbox_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"
	"time"

	"grove/internal/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Child(map[string]sandbox.Builtin{
		"echo": func(args []string, stdin []byte) int {
			os.Stdout.WriteString(args[0] + ":" + string(stdin))
			return len(args)
		},
		"keys": keysMain,
		"who": func([]string, []byte) int {
			_, err := os.ReadFile("/etc/passwd")
			status, _ := os.ReadFile("/proc/self/status")
			fmt.Print(syscall.Getuid(), syscall.Geteuid(), syscall.Getgid(), errors.Is(err, fs.ErrNotExist), len(status))
			return 0
		},
		"front": func(args []string, _ []byte) int {
			code, _ := sandbox.RunHost(sandbox.HostCommand{Argv: args[1:], Patience: 200 * time.Millisecond,
				Mounts: []sandbox.HostMount{{Source: args[0], At: args[0]}}})
			return code
		},
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
