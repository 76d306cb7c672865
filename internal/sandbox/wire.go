// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"encoding/gob"
	"os"
)

// The processes of the package are re-executions of this program under these names (argv[0]).
const (
	initName    = "grove-sandbox-init"
	builtinName = "grove-sandbox-builtin"
	helperName  = "grove-sandbox-helper"
	hostName    = "grove-sandbox-host"
	holdName    = "grove-sandbox-hold"
)

// Descriptors of the init process beyond its stdio.
const (
	controlFD  = 3 // stream socket: requests in, replies out (gob)
	terminalFD = 4 // socket over which the master of a new terminal is sent; Exec only
	selfFD     = 5 // this program, read-only
)

// request is what the host sends: first one with Spec, then one for each step, or one with Command and then signals.
type request struct {
	Spec    *Spec
	Step    *Step
	Command *command
	Signal  int
	Caps    uint64
	LastCap int
}

// reply answers each request but signals; Err is set when it could not be carried out at all.
type reply struct {
	Err     string
	Denied  bool // Err is the kernel's refusal to make namespaces or mounts
	Damaged bool // of StartError
	Result  Result
	Exit    int
}

// command is the part of a Command that travels.
type command struct {
	Argv     []string
	Env      []string
	User     string
	Dir      string
	Terminal bool
	Rows     uint16
	Cols     uint16
}

// channel carries gob values over a socket.
type channel struct {
	file *os.File
	enc  *gob.Encoder
	dec  *gob.Decoder
}

func newChannel(f *os.File) *channel {
	return &channel{file: f, enc: gob.NewEncoder(f), dec: gob.NewDecoder(f)}
}
