// SPDX-License-Identifier: Apache-2.0

// Package machine runs commands in a guest's current tree.
//
// It boots nothing and changes nothing of a deployment: the tree is mounted read-only in a mount namespace of the
// command's own, with the guest's /etc and /var writable, and private /run and /tmp.
//
// It keeps: the deployment is locked (shared) as long as the command runs, so that none removes it meanwhile; no file
// of the host is seen but those that a Bind names and, with the host's network, /etc/resolv.conf where the guest has none.
package machine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"grove/internal/durable"
	"grove/internal/sandbox"
)

// Guest says where a guest lies.
type Guest struct {
	Name    string         // becomes the host name inside
	Root    string         // a deployment's root: read-only but for its /etc
	Image   *sandbox.Image // what is mounted there; nil = the tree lies in Root
	Var     string         // the guest's /var
	Label   string         // what the table of mounts says of the tree; it begins with sandbox.TreeMark
	RunLock string         // file to hold a shared lock on; "" = none
}

// Command is what to run and how.
type Command struct {
	Argv           []string // empty = the user's login shell
	Stdin          *os.File // nil = /dev/null
	Stdout         *os.File
	Stderr         *os.File
	User           string   // name, UID or UID:GID of the guest; "" = root
	Env            []string // "NAME=VALUE", or "NAME" to pass the caller's value on
	Bind           []string // "HOST[:GUEST[:ro]]"
	Chdir          string   // "" = the user's home for a login shell, else "/"
	PrivateNetwork bool     // only a loopback of its own; else the host's network
	Getenv         func(string) string
}

// Run runs the command until it ends and returns its exit code: 128+N when signal N ended it, 127 when it is missing, 126 when it does not start.
//
//	errors  durable.ErrBusy while the deployment is being removed; sandbox.ErrNotPermitted
func Run(ctx context.Context, g Guest, c Command) (int, error) {
	spec, err := container(g, c)
	if err != nil {
		return 127, err
	}
	if g.RunLock != "" {
		lock, err := durable.Acquire(ctx, g.RunLock, false, 0)
		if err != nil {
			return 127, fmt.Errorf("lock deployment of %s: %w", g.Name, err)
		}
		defer func() {
			_ = lock.Release()
			clearMountPoint(ctx, g, c)
		}()
	}
	code, err := sandbox.Exec(ctx, spec, sandbox.Command{Argv: c.Argv, Stdin: c.Stdin, Stdout: c.Stdout, Stderr: c.Stderr,
		User: c.User, Dir: c.Chdir})
	if err != nil {
		return code, fmt.Errorf("run in %s: %w", g.Name, err)
	}
	return code, nil
}

// clearMountPoint removes the empty file that the host's resolv.conf was mounted on, unless another command runs
// there: the guest has none of its own.
func clearMountPoint(ctx context.Context, g Guest, c Command) {
	path := filepath.Join(g.Root, "etc/resolv.conf")
	st, err := os.Lstat(path)
	if c.PrivateNetwork || err != nil || !st.Mode().IsRegular() || st.Size() != 0 {
		return
	}
	lock, err := durable.Acquire(ctx, g.RunLock, true, 0)
	if err != nil {
		return
	}
	_ = os.Remove(path)
	_ = lock.Release()
}

// container describes the guest as a command sees it.
func container(g Guest, c Command) (sandbox.Spec, error) {
	env, err := environment(c)
	if err != nil {
		return sandbox.Spec{}, err
	}
	mounts := []sandbox.Mount{
		{Kind: sandbox.Proc, Target: "/proc"},
		{Kind: sandbox.Sys, Target: "/sys"},
		{Kind: sandbox.Dev, Target: "/dev"},
		{Kind: sandbox.Tmpfs, Target: "/run", Options: "mode=0755,size=20%"},
		{Kind: sandbox.Tmpfs, Target: "/tmp", Options: "mode=1777,size=50%"},
		{Kind: sandbox.Bind, Source: filepath.Join(g.Root, "etc"), Target: "/etc"},
		{Kind: sandbox.Bind, Source: g.Var, Target: "/var"},
	}
	if os.Geteuid() != 0 && !c.PrivateNetwork {
		mounts[1] = sandbox.Mount{Kind: sandbox.Tmpfs, Target: "/sys", ReadOnly: true} // the host's network has another owner
	}
	for _, b := range c.Bind {
		m, err := parseBind(b)
		if err != nil {
			return sandbox.Spec{}, err
		}
		mounts = append(mounts, m)
	}
	if !c.PrivateNetwork {
		mounts = append(mounts, sandbox.Mount{Kind: sandbox.Bind, Source: "/etc/resolv.conf", Target: "/etc/resolv.conf",
			ReadOnly: true, Optional: true, IfAbsent: true})
	}
	return sandbox.Spec{Root: g.Root, Image: g.Image, ReadOnly: true, Bare: true, Mounts: mounts, Network: !c.PrivateNetwork,
		Hostname: hostname(g.Name), Caps: sandbox.RunCaps, Env: env}, nil
}

// environment is a clean one: what says which terminal and language the person has, and what the command names.
func environment(c Command) ([]string, error) {
	get := c.Getenv
	if get == nil {
		get = func(string) string { return "" }
	}
	env := []string{"container=grove"}
	for _, name := range []string{"TERM", "COLORTERM", "LANG", "NO_COLOR"} {
		if v := get(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	for _, e := range c.Env {
		name, _, given := strings.Cut(e, "=")
		if name == "" || strings.ContainsRune(e, 0) {
			return nil, fmt.Errorf("environment %q: want NAME=VALUE or NAME", e)
		}
		if given {
			env = append(env, e)
		} else if v := get(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env, nil
}

// CheckBind tells whether text is a bind, "HOST[:GUEST[:ro]]".
func CheckBind(text string) error {
	_, err := parseBind(text)
	return err
}

func parseBind(text string) (sandbox.Mount, error) {
	host, rest, _ := strings.Cut(text, ":")
	target, option, _ := strings.Cut(rest, ":")
	if rest == "ro" || rest == "rw" {
		target, option = "", rest
	}
	if target == "" {
		target = host
	}
	if !filepath.IsAbs(host) || !filepath.IsAbs(target) || option != "" && option != "ro" && option != "rw" {
		return sandbox.Mount{}, fmt.Errorf("bind %q: want /HOST[:/GUEST[:ro]]", text)
	}
	return sandbox.Mount{Kind: sandbox.Bind, Source: host, Target: target, ReadOnly: option == "ro"}, nil
}

// maxHostname is the kernel's limit.
const maxHostname = 64

func hostname(name string) string {
	if len(name) > maxHostname {
		return name[:maxHostname]
	}
	return name
}
