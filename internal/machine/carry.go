// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A guest's unit was written by the guest, and the host's systemd is root on the host. So only settings that act inside
// the guest's tree are carried over, and none that would be weaker than what keeps the guest in.

// carried are the settings of [Service] that mean the same inside a RootDirectory= and open nothing of the host.
// Left out by being absent: what names files that the host's systemd itself opens, what runs a program outside the
// tree (RootDirectoryStartOnly=) or without the limits (PermissionsStartOnly=), and what hands out host resources.
//
//	source  systemd man/systemd.service.xml, man/systemd.exec.xml, man/systemd.kill.xml, man/systemd.resource-control.xml
var carried = strings.Fields(`
Type ExitType RemainAfterExit GuessMainPID NotifyAccess ExecStart ExecStartPre ExecStartPost ExecCondition ExecReload ExecStop ExecStopPost
RestartSec Restart TimeoutStartSec TimeoutStopSec TimeoutAbortSec TimeoutSec TimeoutStartFailureMode TimeoutStopFailureMode RuntimeMaxSec
WatchdogSec SuccessExitStatus RestartPreventExitStatus RestartForceExitStatus NonBlocking OOMPolicy ReloadSignal
KillMode KillSignal RestartKillSignal SendSIGHUP SendSIGKILL FinalKillSignal WatchdogSignal
WorkingDirectory Environment UnsetEnvironment UMask SyslogIdentifier SyslogFacility SyslogLevel LogLevelMax IgnoreSIGPIPE
StandardOutput StandardError AmbientCapabilities SecureBits
LimitCPU LimitFSIZE LimitDATA LimitSTACK LimitCORE LimitRSS LimitNOFILE LimitAS LimitNPROC LimitMEMLOCK LimitLOCKS LimitSIGPENDING LimitMSGQUEUE
Nice OOMScoreAdjust IOSchedulingClass IOSchedulingPriority CPUSchedulingPolicy CPUSchedulingPriority CoredumpFilter TimerSlackNSec
TasksMax MemoryMax MemoryHigh MemoryLow MemoryMin MemorySwapMax CPUWeight CPUQuota IOWeight
PrivateNetwork PrivateIPC PrivateUsers ProcSubset MemoryDenyWriteExecute SystemCallLog RestrictFileSystems IPAddressDeny IPAddressAllow
`)

// hostGuards keep a service that is root from acting on the host. A package's unit cannot weaken them, the admin can.
var hostGuards = strings.Fields(`PrivateDevices ProtectKernelTunables ProtectKernelModules ProtectKernelLogs ProtectControlGroups
ProtectClock ProtectHostname RestrictSUIDSGID NoNewPrivileges PrivateUsers`)

// plainOutputs are the values of StandardOutput= that open no file.
var plainOutputs = []string{"inherit", "null", "journal"}

// carry gives the value of a setting for the host's unit; a reason instead says why it is left out.
func carry(key, value string) (out, reason string) {
	switch {
	case strings.HasPrefix(key, "Exec"):
		return withinLimits(value)
	case key == "StandardOutput" || key == "StandardError":
		if !slices.Contains(plainOutputs, value) {
			return "", "it is opened outside the guest's tree; the journal takes its place"
		}
	case key == "AmbientCapabilities":
		if value = safeCaps(value); value == "" {
			return "", "these capabilities reach beyond the guest"
		}
	case key == "SecureBits" && strings.Contains(value, "keep-caps"):
		return "", "it keeps capabilities"
	}
	return value, ""
}

// prefixes are what may stand before a command's path.
//
//	source  systemd man/systemd.service.xml, "Special executable prefixes"
const prefixes = "@-:+!|"

// withinLimits takes the + off the commands of a line, with which they would run without any of the limits. systemd
// looks for it behind quotes and escapes, and again after each lone semicolon; what hides one there is left out.
//
//	source  systemd src/core/load-fragment.c, config_parse_exec
func withinLimits(line string) (out, reason string) {
	var b strings.Builder
	for program := true; line != ""; {
		blank := len(line) - len(strings.TrimLeft(line, " \t"))
		word := line[blank:]
		word = word[:wordEnd(word)]
		b.WriteString(line[:blank])
		line = line[blank+len(word):]
		switch {
		case !program:
			program = word == ";"
		case word == ";":
			return "", "a semicolon stands where a program is wanted"
		default:
			plain := strings.NewReplacer(`"`, "", "'", "").Replace(word)
			n := len(plain) - len(strings.TrimLeft(plain, prefixes))
			if strings.Contains(word, `\`) || plain != word && strings.Contains(plain[:n], "+") {
				return "", "its program is written so that it could ask for rights beyond these limits"
			}
			if plain == word {
				word = strings.ReplaceAll(word[:n], "+", "") + word[n:]
			}
			program = false
		}
		b.WriteString(word)
	}
	return b.String(), ""
}

// wordEnd is where the first word of a line ends: at a blank that is neither quoted nor escaped.
//
//	source  systemd src/basic/extract-word.c
func wordEnd(line string) int {
	quote := byte(0)
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == ' ' || c == '\t':
			return i
		}
	}
	return len(line)
}

// plainDir tells whether a name of RuntimeDirectory= and the like is one folder below its place and nothing else: a
// colon makes links at places of the host's choosing, and escapes or specifiers could be one.
func plainDir(name string) bool {
	return filepath.IsLocal(name) && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.@+/-") == ""
}

// serviceCaps are the capabilities that a package's unit may ask for. All others lead out of the guest's tree: by
// mounts, by the processes of the host, by its devices, or by file handles on its file system (CAP_DAC_READ_SEARCH).
var serviceCaps = strings.Fields(rootCaps + ` CAP_NET_RAW CAP_NET_BROADCAST CAP_IPC_LOCK CAP_SYS_NICE CAP_SYS_RESOURCE CAP_AUDIT_WRITE
CAP_BLOCK_SUSPEND CAP_WAKE_ALARM CAP_LEASE`)

// safeCaps keeps of a list of capabilities those that a service may have; systemd reads them in any case of letters.
func safeCaps(list string) string {
	var out []string
	for _, c := range strings.Fields(strings.ToUpper(list)) {
		if slices.Contains(serviceCaps, c) && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return strings.Join(out, " ")
}

// weakens reports whether a package's choice for a guard is less than grove's.
func weakens(key, own string) bool {
	if key == "KeyringMode" { // another mode brings the keys of the host's user
		return own != "private"
	}
	return slices.Contains(hostGuards, key) && !slices.Contains([]string{"yes", "true", "on", "1", "y", "t"}, strings.ToLower(own))
}

// environmentFile reads a file of variables in the tree: the host's systemd would follow the guest's links to files of
// the host.
func environmentFile(root *os.Root, name string, optional bool) ([]string, error) {
	text, err := readIn(root, strings.TrimPrefix(name, "/"))
	if errors.Is(err, fs.ErrNotExist) && optional {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("EnvironmentFile=%s: %w", name, err)
	}
	var out []string
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") || strings.ContainsAny(key, " \t\"'\\%") {
			continue
		}
		value = strings.TrimSpace(value)
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		out = append(out, strings.ReplaceAll(strconv.Quote(key+"="+value), "%", "%%"))
	}
	return out, nil
}

// checkLines refuses a text that systemd would divide into other lines than grove did: it takes a carriage return or a
// NUL for the end of one, and goes on after a backslash.
func checkLines(text string) error {
	for n, line := range strings.Split(text, "\n") {
		if strings.ContainsAny(line, "\r\x00") || strings.HasSuffix(line, `\`) {
			return fmt.Errorf("line %d, %.60q, would end elsewhere for systemd", n+1, line)
		}
	}
	return nil
}
