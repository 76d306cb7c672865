// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// capNames are the capabilities in the order of their numbers. Source: linux/capability.h.
var capNames = strings.Fields(`chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable
net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin
sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog
wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore`)

// vfsCapRevision2 begins a version 2 value; the lowest bit says that the capabilities are effective at once.
// Source: linux/capability.h (VFS_CAP_REVISION_2, VFS_CAP_FLAGS_EFFECTIVE).
const (
	vfsCapRevision2  = 0x02000000
	vfsCapEffective  = 1
	vfsCapSizeBytes  = 20
	maxCapsTextBytes = 4096 // all names of all capabilities are a quarter of this
)

// capSets are the three sets of a file, a bit a capability.
type capSets struct{ effective, inheritable, permitted uint64 }

// parseCaps reads capabilities as packages write them and gives the value of security.capability; nil for none.
//
//	shape   "cap_net_raw=ep", "cap_chown,cap_kill+ei cap_net_admin=p", "=ep"
//	source  cap_from_text(3)
func parseCaps(text string) ([]byte, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if len(text) > maxCapsTextBytes {
		return nil, fmt.Errorf("capabilities of %d bytes, at most %d are allowed", len(text), maxCapsTextBytes)
	}
	var s capSets
	for _, clause := range strings.Fields(text) {
		if err := s.clause(clause); err != nil {
			return nil, fmt.Errorf("capabilities %q: %w", text, err)
		}
	}
	if s == (capSets{}) {
		return nil, nil
	}
	out := make([]byte, vfsCapSizeBytes)
	magic := uint32(vfsCapRevision2)
	if s.effective != 0 {
		magic |= vfsCapEffective
	}
	for i, v := range []uint32{magic, uint32(s.permitted), uint32(s.inheritable), uint32(s.permitted >> 32), uint32(s.inheritable >> 32)} {
		binary.LittleEndian.PutUint32(out[4*i:], v)
	}
	return out, nil
}

// clause applies names and operators such as "cap_chown,cap_kill=ep+i".
func (s *capSets) clause(text string) error {
	i := strings.IndexAny(text, "=+-")
	if i < 0 {
		return fmt.Errorf("clause %q has none of = + -", text)
	}
	mask, err := capMask(text[:i])
	if err != nil {
		return err
	}
	for ops := text[i:]; ops != ""; {
		op := ops[0]
		end := strings.IndexAny(ops[1:], "=+-")
		flags := ops[1:]
		if end >= 0 {
			flags = ops[1 : 1+end]
		}
		ops = ops[1+len(flags):]
		if op == '=' {
			s.effective, s.inheritable, s.permitted = s.effective&^mask, s.inheritable&^mask, s.permitted&^mask
		}
		for _, f := range flags {
			set := map[rune]*uint64{'e': &s.effective, 'i': &s.inheritable, 'p': &s.permitted}[f]
			if set == nil {
				return fmt.Errorf("flag %q: want e, i or p", f)
			}
			if op == '-' {
				*set &^= mask
			} else {
				*set |= mask
			}
		}
	}
	return nil
}

// capMask reads a list of names; nothing and "all" mean every capability.
func capMask(list string) (uint64, error) {
	if list == "" || list == "all" {
		return 1<<len(capNames) - 1, nil
	}
	var mask uint64
	for _, name := range strings.Split(strings.ToLower(list), ",") {
		n, err := capNumber(name)
		if err != nil {
			return 0, err
		}
		mask |= 1 << n
	}
	return mask, nil
}

func capNumber(name string) (int, error) {
	for i, n := range capNames {
		if name == "cap_"+n {
			return i, nil
		}
	}
	if n, err := strconv.Atoi(strings.TrimPrefix(name, "cap_")); err == nil && n >= 0 && n < 64 {
		return n, nil
	}
	return 0, fmt.Errorf("capability %q is not known", name)
}
