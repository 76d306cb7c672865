// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"slices"
	"strings"
)

// hardening is one line that a service gets, with the reason that stands above it.
type hardening struct {
	key, value, why string
}

// rootCaps are what servers that start as root commonly need: bind a low port, change to their user, own their files.
const rootCaps = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_NET_BIND_SERVICE CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT"

// always are lines that no --without takes away: without them the service could write into the deployment.
var always = []hardening{
	{"ProtectSystem", "strict", "The tree is grove's: nothing in it can be written but what is named below."},
	{"MountAPIVFS", "yes", "/proc, /sys, /dev and an empty /run, as the guest's programs expect them."},
}

// hardeningOf chooses the set for a unit. What the package's own unit says stricter or looser on purpose stays with the unit.
//
//	source  systemd man/systemd.exec.xml; systemd-analyze security
func hardeningOf(u unitFile) []hardening {
	root := runsAsRoot(u)
	caps := boundingSet(u, root)
	list := []hardening{
		{"PrivateTmp", "yes", "/tmp and /var/tmp of its own."},
		{"PrivateDevices", "yes", "No devices but null, zero, random, tty and their like."},
		{"ProtectHome", "yes", "/home, /root and /run/user are empty."},
		{"ProtectKernelTunables", "yes", "/proc/sys and /sys cannot be written."},
		{"ProtectKernelModules", "yes", "No kernel modules are loaded."},
		{"ProtectKernelLogs", "yes", "The kernel's log stays unread."},
		{"ProtectControlGroups", "yes", "Control groups cannot be written."},
		{"ProtectClock", "yes", "The clock cannot be set."},
		{"ProtectHostname", "yes", "The host's name cannot be set."},
		{"ProtectProc", "invisible", "Processes of other users are not seen."},
		{"RestrictNamespaces", "yes", "No namespaces are made."},
		{"RestrictRealtime", "yes", "No realtime scheduling."},
		{"RestrictSUIDSGID", "yes", "No setuid or setgid files are made."},
		{"LockPersonality", "yes", "The execution domain cannot be changed."},
		{"RemoveIPC", "yes", "What it leaves in System V and POSIX IPC goes with it."},
		{"KeyringMode", "private", "A kernel keyring of its own."},
		{"SystemCallArchitectures", "native", "System calls of this machine's architecture only."},
		{"SystemCallFilter", "@system-service", "The system calls that services need."},
		{"SystemCallErrorNumber", "EPERM", "A call beyond these is refused, the service is not killed."},
		{"RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK", "Internet and local sockets; no raw or exotic ones."},
		{"CapabilityBoundingSet", caps, "Of root's powers only these."},
		{"UMask", "0027", "Files it makes are not for everybody."},
	}
	if !root {
		list = append(list, hardening{"NoNewPrivileges", "yes", "No program gives it more rights than it has."})
		list = slices.DeleteFunc(list, func(h hardening) bool { return h.key == "UMask" })
	} else {
		list = append(list, hardening{"NoNewPrivileges", "yes", "No setuid program gives its children more rights."})
		list = slices.DeleteFunc(list, func(h hardening) bool { return h.key == "UMask" || h.key == "RemoveIPC" })
	}
	if caps == "" { // of the host's network none of its powers would count from there
		list = append(list, hardening{"PrivateUsers", "yes", "To the kernel its user is another than the host's of the same id, whose processes, and their files by /proc/PID/root, are out of reach."})
	}
	if strings.Contains(caps, "CAP_SYS_CHROOT") {
		i := slices.IndexFunc(list, func(h hardening) bool { return h.key == "SystemCallFilter" })
		list[i].value, list[i].why = "@system-service chroot", "The system calls that services need, and chroot, which daemons lock their workers up with."
	}
	return list
}

// boundingSet is what the package's unit names, else what a server commonly needs, and never what leads out of the tree.
func boundingSet(u unitFile, root bool) string {
	own := strings.Join(u.all("Service", "CapabilityBoundingSet"), " ")
	switch {
	case own != "" && !strings.Contains(own, "~"):
		return safeCaps(own)
	case root:
		return rootCaps
	}
	return safeCaps(strings.Join(u.all("Service", "AmbientCapabilities"), " "))
}

// runsAsRoot says whether the service's processes start as root.
func runsAsRoot(u unitFile) bool {
	user := u.one("Service", "User")
	dynamic := u.one("Service", "DynamicUser")
	return (user == "" || user == "root" || user == "0") && dynamic != "yes" && dynamic != "true" && dynamic != "1"
}
