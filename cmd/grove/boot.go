// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"grove/internal/deploy"
	"grove/internal/guest"
	"grove/internal/machine"
	"grove/internal/sandbox"
)

func (a *app) boot() *cobra.Command {
	var b machine.Boot
	var deployment int
	cmd := verb("boot [OPTION]... NAME [-- ARG...]", "boot a guest in the foreground", `
systemd-nspawn boots the guest's own systemd on this terminal; Ctrl-] three times, or poweroff inside, ends it.
/usr is read-only, /etc and /var are the guest's. An upgrade meanwhile makes a new deployment beside the
running one; the next boot takes it. ARGs go to systemd-nspawn. Nothing of the mounts is left behind.

    grove boot mail
    grove boot --network veth --private-users mail`, cobra.MinimumNArgs(1), func(cmd *cobra.Command, args []string) error {
		e, err := a.guestEnv()
		if err != nil {
			return err
		}
		if len(args) > 1 && args[1] != "--" {
			return usage("boot %s: options stand before the guest's name, systemd-nspawn's after --", args[0])
		}
		if len(args) > 1 {
			b.Args = args[2:]
		}
		b.Bare = !machine.HasSystemd()
		b.Stdin = a.stdin
		b.Stdout = fileOf(a.stdout)
		b.Stderr = fileOf(a.stderr)
		code, err := guest.Boot(cmd.Context(), e, args[0], deployment, b)
		if errors.Is(err, machine.ErrBooted) {
			err = hintedError{err, "poweroff inside ends it; `grove shell " + args[0] + "` runs beside it, with the same /etc and /var"}
		}
		if errors.Is(err, guest.ErrNoInit) {
			err = hintedError{err, "`grove install " + args[0] + " systemd` brings one; `grove shell " + args[0] + "` needs none"}
		}
		if err == nil && code != 0 {
			err = exitError(code)
		}
		return err
	})
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.IntVar(&deployment, "deployment", 0, "boot this deployment instead of the current one")
	networkFlag(cmd, &b.Network)
	f.BoolVar(&b.PrivateUsers, "private-users", false, "map the guest's ids, so that its root is nobody here")
	bindFlag(cmd, &b.Bind, "the guest")
	f.BoolVar(&b.Unit, "unit", false, "as the unit that grove enable writes: settings come from the .nspawn file")
	return cmd
}

// networkFlag says which network a booted guest has.
func networkFlag(cmd *cobra.Command, network *string) {
	cmd.Flags().Func("network", "host (default), veth, none or bridge:NAME", func(v string) error {
		*network = v
		return machine.CheckNetwork(v)
	})
}

// bindFlag names what of the host is seen.
func bindFlag(cmd *cobra.Command, bind *[]string, who string) {
	cmd.Flags().Func("bind", "show HOST[:GUEST[:ro]] in "+who, func(v string) error {
		*bind = append(*bind, v)
		return machine.CheckBind(v)
	})
}

// hostFlags say where files of the host go; the defaults are systemd's own places.
func hostFlags(cmd *cobra.Command, h *guest.Host) {
	f := cmd.Flags()
	f.StringVar(&h.UnitDir, "unit-dir", "", "where units are written (default /etc/systemd/system)")
	f.StringVar(&h.NspawnDir, "nspawn-dir", "", "where .nspawn files are written (default /etc/systemd/nspawn)")
	f.StringVar(&h.ImageDir, "image-dir", "", "where machinectl looks for machines (default /var/lib/machines)")
}

// restartFlag says when what runs takes another tree.
func restartFlag(cmd *cobra.Command, restart *bool) {
	cmd.Flags().Func("restart", "upgrade: at each change of the guest; next-start: when it is started the next time (default)", func(v string) error {
		if v != "upgrade" && v != "next-start" {
			return fmt.Errorf("want upgrade or next-start")
		}
		*restart = v == "upgrade"
		return nil
	})
}

// program is the path under which units start grove.
func program() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(self)
}

func (a *app) enable() *cobra.Command {
	var h guest.Host
	var o guest.EnableOptions
	var timer string
	cmd := verb("enable NAME | --upgrade-timer[=WHEN]", "let systemd run a guest, or upgrade all guests", `
Writes a .nspawn file, a drop-in of systemd-nspawn@NAME.service and a link in /var/lib/machines, and names them:
then machinectl start, stop, shell and status know NAME. The guest starts with the host unless --no-boot is given.
After an upgrade it runs on in its old tree until its next start. Files that grove did not write are never replaced.

--upgrade-timer writes a timer that upgrades all guests; WHEN is as in OnCalendar=, daily if left out.`,
		cobra.MaximumNArgs(1), func(cmd *cobra.Command, args []string) error {
			isTimer := cmd.Flags().Changed("upgrade-timer")
			if isTimer == (len(args) == 1) {
				return usage("enable: name a guest, or say --upgrade-timer")
			}
			e, err := a.guestEnv()
			if err != nil {
				return err
			}
			if h.Program, err = program(); err != nil {
				return err
			}
			var out guest.Enabled
			if isTimer {
				out, err = guest.EnableTimer(e, h, timer)
			} else {
				out, err = guest.Enable(cmd.Context(), e, args[0], h, o)
			}
			if err != nil {
				return err
			}
			return a.showEnabled(out)
		})
	hostFlags(cmd, &h)
	f := cmd.Flags()
	networkFlag(cmd, &o.Network)
	f.BoolVar(&o.PrivateUsers, "private-users", false, "map the guest's ids, so that its root is nobody here")
	f.BoolFunc("no-boot", "do not start the guest with the host", func(string) error { o.AtBoot = false; return nil })
	restartFlag(cmd, &o.Restart)
	f.StringVar(&timer, "upgrade-timer", "", "a timer that upgrades every guest: daily, \"Sun 04:00\", ...")
	f.Lookup("upgrade-timer").NoOptDefVal = "daily"
	o.AtBoot = true
	return cmd
}

func (a *app) showEnabled(out guest.Enabled) error {
	a.warn(out.Warnings)
	return a.show(out, func() {
		for _, p := range out.Written {
			fmt.Fprintln(a.stdout, "wrote", p)
		}
		for _, p := range out.Removed {
			fmt.Fprintln(a.stdout, "removed", p)
		}
		if !a.quiet && len(out.Written)+len(out.Removed) > 0 {
			fmt.Fprintln(a.stdout, "systemctl daemon-reload makes it known")
		}
	})
}

func (a *app) disable() *cobra.Command {
	var service string
	var timer bool
	cmd := verb("disable NAME | --upgrade-timer", "take what enable and service wrote off the host", `
Removes the files that grove enable and grove service wrote for the guest, or with --service those of one unit.
What runs goes on until it is stopped.`, cobra.MaximumNArgs(1), func(cmd *cobra.Command, args []string) error {
		if timer == (len(args) == 1) {
			return usage("disable: name a guest, or say --upgrade-timer")
		}
		e, err := a.guestEnv()
		if err != nil {
			return err
		}
		var out guest.Enabled
		if timer {
			out, err = guest.DisableTimer(e)
		} else {
			out, err = guest.Disable(cmd.Context(), e, args[0], service)
		}
		if err != nil {
			return err
		}
		return a.showEnabled(out)
	})
	cmd.Flags().StringVar(&service, "service", "", "only this unit of the host, as grove service named it")
	cmd.Flags().BoolVar(&timer, "upgrade-timer", false, "the timer of grove enable --upgrade-timer")
	return cmd
}

func (a *app) service() *cobra.Command {
	var h guest.Host
	var o guest.ServiceOptions
	var portable bool
	cmd := verb("service NAME [UNIT]", "run one service of a guest as a hardened unit of this host", `
Makes of a package's unit in the guest a unit of this host, grove-NAME-UNIT, with RootDirectory= on the guest's
current tree, which grove mounts as the service starts, its /var and /etc, and a set of limits that is explained line by line in the file. --without KEY leaves
one out. The unit follows upgrades at its next start. Without UNIT, the guest's services are listed; --print writes
nothing. Where systemd-analyze is there, its rating is shown before and after.

--portable hands the package's own unit, under its own name, to portablectl instead, with the limits of --profile.

    grove service mail postfix@-.service
    grove service mail nginx --without ProtectHome`, cobra.RangeArgs(1, 2), func(cmd *cobra.Command, args []string) error {
		e, err := a.guestEnv()
		if err != nil {
			return err
		}
		if len(args) == 1 {
			names, err := guest.Services(e, args[0])
			if err != nil {
				return err
			}
			return a.show(names, func() {
				for _, n := range names {
					fmt.Fprintln(a.stdout, n)
				}
			})
		}
		if h.Program, err = program(); err != nil {
			return err
		}
		if !portable && o.Profile != "" {
			return usage("service: --profile goes with --portable")
		}
		if portable {
			if o.Print || o.WriteEtc || o.Restart || o.AtBoot || len(o.Without)+len(o.Bind) > 0 {
				return usage("service: the unit of --portable is the package's own; of the other options only --profile goes with it")
			}
			out, err := guest.PortableService(cmd.Context(), e, args[0], args[1], h, o)
			if err != nil {
				return err
			}
			return a.showEnabled(out)
		}
		s, out, err := guest.Service(cmd.Context(), e, args[0], args[1], h, o)
		if errors.Is(err, fs.ErrNotExist) {
			err = hintedError{err, "`grove service " + args[0] + "` lists the services that the guest has"}
		}
		if err != nil {
			return err
		}
		if o.Print {
			if a.json {
				return a.show(s, nil)
			}
			_, err := fmt.Fprint(a.stdout, s.Text)
			return err
		}
		if err := a.showEnabled(out); err != nil || a.json || a.quiet {
			return err
		}
		before, errB := exposure(cmd.Context(), args[0], s.Source)
		after, errA := exposure(cmd.Context(), args[0], s.Text)
		if errA == nil && errB == nil {
			fmt.Fprintf(a.stdout, "exposure by systemd-analyze security: %s before, %s now (0 is best, 10 is worst)\n", before, after)
		} else if err := errors.Join(errA, errB); !errors.Is(err, sandbox.ErrNoProgram) {
			a.warn([]string{fmt.Sprintf("systemd-analyze security: %v", err)})
		}
		return nil
	})
	hostFlags(cmd, &h)
	f := cmd.Flags()
	f.StringArrayVar(&o.Without, "without", nil, "leave a hardening key out")
	bindFlag(cmd, &o.Bind, "the service")
	restartFlag(cmd, &o.Restart)
	f.BoolVar(&o.AtBoot, "at-boot", false, "start it with the host")
	f.BoolVar(&o.WriteEtc, "write-etc", false, "let it write to the deployment's /etc")
	f.BoolVar(&portable, "portable", false, "as a portable service of this host")
	f.StringVar(&o.Profile, "profile", "", "of --portable: default, nonetwork, strict or trusted")
	f.BoolVar(&o.Print, "print", false, "print the unit, write nothing")
	return cmd
}

func (a *app) mount() *cobra.Command {
	var deployment int
	cmd := verb("mount NAME [DIR]", "mount a guest's tree on a folder", `
The tree is sealed: nobody can write to it. Its /etc and the guest's /var are mounted in it and can be written. What an
earlier grove mount left on DIR goes away first. Without DIR it is `+machine.MountPlace+`NAME, where only root gets to, and which is
printed. Whoever may enter DIR can start the guest's programs with set-id bits. The deployment is kept until grove umount NAME, or DIR.

    grove mount mail /mnt
    ls $(grove mount mail)/usr ; grove umount mail`, cobra.RangeArgs(1, 2), func(_ *cobra.Command, args []string) error {
		e, err := a.guestEnv()
		if err != nil {
			return err
		}
		if len(args) == 1 {
			m, err := guest.Mount(e, args[0], deployment, machine.MountPlace+args[0])
			if err != nil {
				return err
			}
			return a.show(m, func() { fmt.Fprintln(a.stdout, m.Path) })
		}
		dir, err := filepath.Abs(args[1])
		if err != nil {
			return err
		}
		m, err := guest.Mount(e, args[0], deployment, dir)
		if err != nil || !a.json {
			return err
		}
		return a.show(m, nil)
	})
	cmd.Flags().IntVar(&deployment, "deployment", 0, "this deployment instead of the current one")
	return cmd
}

func (a *app) umount() *cobra.Command {
	return verb("umount NAME|DIR", "take a mounted tree away", `
DIR is as it was given to grove mount, NAME where it was given none; a word without a slash is a NAME where that guest is
mounted so. Where no tree is mounted, nothing is done; what others mounted stays.`, cobra.ExactArgs(1), func(_ *cobra.Command, args []string) error {
		if at := machine.MountPlace + args[0]; deploy.ValidName(args[0]) == nil {
			if was, err := machine.UnmountTree(at); err != nil || was {
				return errors.Join(err, os.Remove(at))
			}
		}
		dir, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		was, err := machine.UnmountTree(dir)
		if err == nil && !was && !a.quiet {
			fmt.Fprintf(a.stderr, "grove: no tree is mounted on %s\n", dir)
		}
		return err
	})
}

// exposure is what systemd-analyze says of a unit, "4.2 OK".
func exposure(ctx context.Context, name, text string) (string, error) {
	dir, err := os.MkdirTemp("", "grove-analyze-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "grove-"+name+".service")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return "", err
	}
	out, err := sandbox.HostTool(ctx, nil, "systemd-analyze", "security", "--offline=true", "--no-pager", file)
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(out), "\n") {
		if _, rest, ok := strings.Cut(line, "Overall exposure level for "); ok {
			_, rating, _ := strings.Cut(rest, ": ")
			if f := strings.Fields(rating); len(f) >= 2 {
				return f[0] + " " + f[1], nil
			}
		}
	}
	return "", errors.New("gave no rating")
}
