// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"grove/internal/ostree"
	"grove/internal/pull"
	"grove/internal/repo"
	"grove/internal/sign"
)

// remoteVerbs are the verbs about remotes, of the state root's repository or of --repo.
type remoteVerbs struct {
	a    *app
	open func() (*repo.Repo, error)
	ask  bool // who adds a remote has to say how it is trusted
}

// stateRepo opens the state root's repository.
func (a *app) stateRepo() (*repo.Repo, error) { return a.openRepo("") }

func (a *app) remote(open func() (*repo.Repo, error), ask bool) *cobra.Command {
	v := &remoteVerbs{a, open, ask}
	cmd := &cobra.Command{Use: "remote", Short: "where bases are pulled from", Args: groupArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("say a verb; remote --help lists them")
		}}
	cmd.AddCommand(v.add(), v.delete(), v.list(), v.showURL(), v.refs(), v.summary(), v.gpgImport(), v.gpgListKeys(), v.addCookie(), v.deleteCookie(), v.listCookies())
	return cmd
}

// remoteFlags are those of remote add.
type remoteFlags struct {
	keys, set, signVerify             []string
	noGPG, noSign, force, ifNotExists bool
	content, collection, backend      string
}

func (v *remoteVerbs) add() *cobra.Command {
	var o remoteFlags
	use := "add NAME [metalink=|mirrorlist=]URL [BRANCH]..."
	long := `
URL is http://, https:// or file://, of an OSTree repository; with mirrorlist= or metalink= before it, of a list of such. The
branches are what a pull brings that names none. Commits must be signed by a key that --gpg-import or remote gpg-import gives,
by one that the host trusts for all remotes, and, with --sign-verify, by an ed25519 key.`
	if v.ask {
		use += " --gpg-key FILE | --sign-verify KEY | --no-gpg-verify"
		long = strings.NewReplacer("--gpg-import or remote gpg-import gives", "--gpg-key gives", "and, with --sign-verify, by", "or, with --sign-verify, by").Replace(long) + `
With --gpg-key and --sign-verify they must bear both. --no-gpg-verify alone accepts them unsigned.`
	}
	cmd := verb(use, "add a remote", long, cobra.MinimumNArgs(1), func(_ *cobra.Command, args []string) error {
		remote, err := o.remote(args, v.ask)
		if err != nil {
			return err
		}
		if v.ask && !o.vouched() {
			return usage("remote %s: say --gpg-key FILE or --sign-verify KEY, or --no-gpg-verify to accept unsigned commits", args[0])
		}
		r, err := v.open()
		if err != nil {
			return err
		}
		keys, err := pull.ReadKeys(o.keys)
		if err != nil {
			return err
		}
		_, err = pull.AddRemote(r, remote, keys, pull.AddOptions{Replace: o.force, IfNotExists: o.ifNotExists})
		return err
	})
	o.add(cmd)
	return cmd
}

// vouched tells whether it was said how the remote is trusted.
func (o *remoteFlags) vouched() bool {
	return len(o.keys)+len(o.signVerify) > 0 || o.noGPG || o.noSign || o.backend != ""
}

func (o *remoteFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.keys, "gpg-import", nil, "a file of OpenPGP keys that vouch for the remote's commits")
	f.StringArrayVar(&o.keys, "gpg-key", nil, "the same")
	f.StringArrayVar(&o.set, "set", nil, "KEY=VALUE of the remote's configuration")
	f.StringArrayVar(&o.signVerify, "sign-verify", nil, "commits must bear this signature: ed25519=inline:KEY or ed25519=file:PATH")
	f.BoolVar(&o.noGPG, "no-gpg-verify", false, "accept commits without OpenPGP signature")
	f.BoolVar(&o.noSign, "no-sign-verify", false, "accept commits without any signature")
	f.BoolVar(&o.force, "force", false, "replace a remote of this name")
	f.BoolVar(&o.ifNotExists, "if-not-exists", false, "do nothing where there is a remote of this name")
	f.StringVar(&o.content, "contenturl", "", "where its objects are, if not at URL; may begin with mirrorlist=")
	f.StringVar(&o.collection, "collection-id", "", "the collection that its commits must be bound to")
	f.StringVar(&o.backend, "custom-backend", "", "another program pulls from it; pulls here are refused")
}

// remote makes a remote of the arguments and options. With one, an ed25519 key that vouches is enough; else OpenPGP is asked for
// besides, as ostree does it.
func (o *remoteFlags) remote(args []string, one bool) (repo.Remote, error) {
	gpg := !o.noGPG && !o.noSign && !(one && len(o.signVerify) > 0 && len(o.keys) == 0)
	r := repo.Remote{Name: args[0], ContentURL: o.content, CollectionID: o.collection, GPGVerify: gpg, Options: map[string]string{}}
	if len(args) < 2 && o.backend == "" {
		return r, usage("remote add: say NAME and URL")
	}
	if o.force && o.ifNotExists {
		return r, usage("remote add: --force or --if-not-exists, not both")
	}
	if len(args) > 1 {
		r.URL, r.Branches = args[1], args[2:]
	}
	if o.backend != "" {
		r.Options["custom-backend"] = o.backend
	}
	for _, kv := range o.set {
		k, value, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return r, usage("--set %s: want KEY=VALUE", kv)
		}
		r.Options[k] = value
	}
	if o.noSign {
		r.Options["sign-verify"] = "false"
	}
	for _, spec := range o.signVerify {
		kind, key, _ := strings.Cut(spec, "=")
		where, value, ok := strings.Cut(key, ":")
		option := map[string]string{"inline": "verification-ed25519-key", "file": "verification-ed25519-file"}[where]
		if kind != "ed25519" || option == "" || !ok || o.noSign {
			return r, usage("--sign-verify %s: want ed25519=inline:KEY or ed25519=file:PATH, and no --no-sign-verify", spec)
		}
		r.Options["sign-verify"], r.Options[option] = kind, value
	}
	if o.collection != "" {
		if err := ostree.CheckCollectionID(o.collection); err != nil {
			return r, usage("%v", err)
		}
	}
	return r, nil
}

func (v *remoteVerbs) delete() *cobra.Command {
	var ifExists bool
	cmd := verb("delete NAME", "remove a remote and its keys", "Refs that came from it, and guests on it, stay; they cannot be upgraded until it is back.", cobra.ExactArgs(1),
		func(_ *cobra.Command, args []string) error {
			r, err := v.open()
			if err != nil {
				return err
			}
			if err = pull.DeleteRemote(r, args[0]); ifExists && errors.Is(err, repo.ErrNotFound) {
				return nil
			}
			return err
		})
	cmd.Flags().BoolVar(&ifExists, "if-exists", false, "do nothing where there is none")
	return cmd
}

type remoteJSON struct {
	Name             string `json:"name"`
	URL              string `json:"url"`
	GPGVerify        bool   `json:"gpg_verify"`
	GPGVerifySummary bool   `json:"gpg_verify_summary"`
	SignVerify       bool   `json:"sign_verify"`
}

// remoteURL is where a remote is, as remote show-url prints it.
func remoteURL(r repo.Remote) string {
	if m := r.Options["metalink"]; m != "" {
		return "metalink=" + m
	}
	return r.URL
}

func (v *remoteVerbs) list() *cobra.Command {
	var urls bool
	long := "The names; with -u their URLs."
	if v.ask {
		long = "Name, URL, and whether commits must be signed."
	}
	cmd := verb("list", "the remotes", long, cobra.NoArgs, func(*cobra.Command, []string) error {
		r, err := v.open()
		if err != nil {
			return err
		}
		list, err := r.Remotes()
		if err != nil {
			return err
		}
		out := []remoteJSON{}
		for _, r := range list {
			out = append(out, remoteJSON{r.Name, remoteURL(r), r.GPGVerify, r.GPGVerifySummary, len(r.SignVerify) > 0})
		}
		return v.a.show(out, func() {
			for _, r := range out {
				switch {
				case v.ask:
					v.a.printf("%s  %s  (%s)\n", r.Name, r.URL, r.trust())
				case urls:
					v.a.printf("%s  %s\n", r.Name, r.URL)
				default:
					v.a.printf("%s\n", r.Name)
				}
			}
		})
	})
	cmd.Flags().BoolVarP(&urls, "show-urls", "u", false, "show their URLs")
	return cmd
}

// trust says what vouches for the remote's commits.
func (r remoteJSON) trust() string {
	switch {
	case r.GPGVerify && r.SignVerify:
		return "signed by its keys, GPG and ed25519"
	case r.GPGVerify:
		return "signed by its keys"
	case r.SignVerify:
		return "signed by its ed25519 keys"
	}
	return "not verified"
}

func (v *remoteVerbs) showURL() *cobra.Command {
	return verb("show-url NAME", "where a remote is", "As it was added.", cobra.ExactArgs(1), func(_ *cobra.Command, args []string) error {
		r, err := v.open()
		if err != nil {
			return err
		}
		remote, err := r.Remote(args[0])
		if err != nil {
			return err
		}
		v.a.printf("%s\n", remoteURL(remote))
		return nil
	})
}

func (v *remoteVerbs) refs() *cobra.Command {
	var revision bool
	var cacheDir string
	cmd := verb("refs NAME", "the refs that a remote offers", "Asks the remote.", cobra.ExactArgs(1), func(cmd *cobra.Command, args []string) error {
		r, err := v.open()
		if err != nil {
			return err
		}
		refs, err := pull.RefsOf(cmd.Context(), r, args[0], pull.Options{Offline: v.a.offline, CacheDir: cacheDir})
		if err != nil {
			return err
		}
		return v.a.show(refs, func() {
			for _, name := range sortedKeys(refs) {
				if revision {
					v.a.printf("%s:%s\t%s\n", args[0], name, refs[name])
				} else {
					v.a.printf("%s:%s\n", args[0], name)
				}
			}
		})
	})
	cmd.Flags().BoolVarP(&revision, "revision", "r", false, "show the commits too")
	cmd.Flags().StringVar(&cacheDir, "cache-dir", "", "where summaries are kept")
	return cmd
}

func (v *remoteVerbs) summary() *cobra.Command {
	var o summaryFlags
	var cacheDir string
	cmd := verb("summary NAME", "what a remote says of itself", "Asks the remote. The summary is verified as the remote's settings say; signatures that they do not ask for are shown too.", cobra.ExactArgs(1),
		func(cmd *cobra.Command, args []string) error {
			r, err := v.open()
			if err != nil {
				return err
			}
			s, err := pull.SummaryOf(cmd.Context(), r, args[0], pull.Options{Offline: v.a.offline, CacheDir: cacheDir})
			if err != nil {
				return err
			}
			v.a.warn(s.Warnings)
			if o.part() {
				return v.a.showSummaryPart(s.Summary, s.Data, o)
			}
			return v.a.viewSummary(s.Summary, s.Marks)
		})
	o.partFlags(cmd)
	cmd.Flags().StringVar(&cacheDir, "cache-dir", "", "where summaries are kept")
	return cmd
}

func (v *remoteVerbs) gpgImport() *cobra.Command {
	var files []string
	var stdin bool
	cmd := verb("gpg-import NAME [KEY-ID]... -k FILE | --stdin", "add OpenPGP keys that vouch for a remote", `
All keys of the files, or those that the KEY-IDs name: by fingerprint, the end of it, or a part of the user's name.`, cobra.MinimumNArgs(1),
		func(_ *cobra.Command, args []string) error {
			if len(files) == 0 && !stdin {
				return usage("gpg-import: say --keyring FILE or --stdin")
			}
			r, err := v.open()
			if err != nil {
				return err
			}
			keys, err := pull.ReadKeys(files)
			if err != nil {
				return err
			}
			if stdin {
				data, err := io.ReadAll(io.LimitReader(v.a.stdin, maxStdinKeys))
				if err != nil {
					return err
				}
				keys = append(keys, data)
			}
			added, err := pull.ImportKeys(r, args[0], keys, args[1:])
			if err != nil {
				return err
			}
			plural := "s"
			if len(added) == 1 {
				plural = ""
			}
			v.a.printf("Imported %d GPG key%s to remote \"%s\"\n", len(added), plural, args[0])
			return nil
		})
	cmd.Flags().StringArrayVarP(&files, "keyring", "k", nil, "a file of keys")
	cmd.Flags().BoolVar(&stdin, "stdin", false, "read keys from standard input")
	return cmd
}

const maxStdinKeys = 16 << 20

type keyJSON struct {
	Fingerprint string   `json:"fingerprint"`
	UserIDs     []string `json:"user_ids"`
	Subkeys     []string `json:"subkeys"`
	Created     int64    `json:"created"`           // seconds since 1970
	Expires     int64    `json:"expires,omitempty"` // the same; left out = never
	Revoked     bool     `json:"revoked,omitempty"`
}

func (v *remoteVerbs) gpgListKeys() *cobra.Command {
	return verb("gpg-list-keys NAME", "the OpenPGP keys that vouch for a remote", "Its own, or else those that the host trusts for all remotes.", cobra.ExactArgs(1),
		func(_ *cobra.Command, args []string) error {
			r, err := v.open()
			if err != nil {
				return err
			}
			keys, err := pull.Keys(r, args[0])
			if err != nil {
				return err
			}
			out := []keyJSON{}
			for _, k := range keys {
				out = append(out, keyJSON{k.Fingerprint, notNil(k.UserIDs), notNil(k.Subkeys), k.CreatedSec, k.ExpiresSec, k.Revoked})
			}
			return v.a.show(out, func() {
				for _, k := range keys {
					v.printKey(k)
				}
			})
		})
}

func (v *remoteVerbs) printKey(k sign.Key) {
	at := func(sec int64) string { return time.Unix(sec, 0).UTC().Format("2006-01-02 15:04:05 -0700") }
	revoked := ""
	if k.Revoked {
		revoked = " (revoked)"
	}
	v.a.printf("Key: %s%s\n  Created: %s\n", strings.ToUpper(k.Fingerprint), revoked, at(k.CreatedSec))
	if k.ExpiresSec > 0 {
		word := "Expires"
		if k.ExpiresSec < time.Now().Unix() {
			word = "Expired"
		}
		v.a.printf("  %s: %s\n", word, at(k.ExpiresSec))
	}
	for _, id := range k.UserIDs {
		v.a.printf("  UID: %s\n", id)
	}
	for _, s := range k.Subkeys {
		v.a.printf("  Subkey: %s\n", strings.ToUpper(s))
	}
}
