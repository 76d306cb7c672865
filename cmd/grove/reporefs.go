// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"grove/internal/repo"
)

// refsFlags are those of `grove repo refs`, named as ostree names them.
type refsFlags struct {
	delete, list, alias, collections, force, revision bool
	create                                            string

	shown []refJSON
}

// refJSON is a ref as --json shows it: one of a collection, an alias, or one that names a commit.
type refJSON struct {
	Collection string `json:"collection,omitempty"`
	Ref        string `json:"ref"`
	AliasOf    string `json:"alias_of,omitempty"`
	Commit     string `json:"commit,omitempty"`
}

// line shows one ref, as JSON or as text.
func (o *refsFlags) line(a *app, ref refJSON, text string) {
	if a.json {
		o.shown = append(o.shown, ref)
		return
	}
	fmt.Fprintln(a.stdout, text)
}

func (v *repoVerbs) refs() *cobra.Command {
	var o refsFlags
	cmd := verb("refs [PREFIX]...", "the refs", `
With a PREFIX: those below it, printed without it, as ostree does; --list leaves it on. --delete deletes them. --create NEW makes
a ref of a commit that is there already, with --alias one that follows another.`, cobra.ArbitraryArgs,
		func(_ *cobra.Command, args []string) error {
			if o.delete && len(args) == 0 {
				return usage("refs --delete: say a PREFIX")
			}
			if o.create != "" && len(args) != 1 {
				return usage("refs --create: say one commit or ref")
			}
			r, err := v.open()
			if err != nil {
				return err
			}
			if o.create != "" {
				return o.make(r, args[0])
			}
			if len(args) == 0 {
				args = []string{""}
			}
			for _, prefix := range args {
				if err := o.each(v.a, r, prefix); err != nil {
					return err
				}
			}
			if o.delete || !v.a.json {
				return nil
			}
			return v.a.show(append([]refJSON{}, o.shown...), nil)
		})
	f := cmd.Flags()
	f.BoolVar(&o.delete, "delete", false, "delete them")
	f.BoolVar(&o.list, "list", false, "print names with their PREFIX")
	f.BoolVarP(&o.alias, "alias", "A", false, "list the aliases; with --create: make one")
	f.StringVar(&o.create, "create", "", "make this ref name a commit that is there")
	f.BoolVarP(&o.collections, "collections", "c", false, "list refs with their collections; PREFIX is a collection")
	f.BoolVar(&o.force, "force", false, "--create replaces a ref that is there")
	f.BoolVarP(&o.revision, "revision", "r", false, "print the commits too")
	return cmd
}

// make makes the ref of --create.
func (o *refsFlags) make(r *repo.Repo, from string) error {
	if !o.force {
		aliases, err := r.Aliases("")
		if err != nil {
			return err
		}
		_, isAlias := aliases[o.create]
		if _, err := r.LookupRef(o.create); err == nil && !(o.alias && isAlias) {
			return fmt.Errorf("refs --create: there is a ref %q already (--force replaces it)", o.create)
		}
	}
	if o.alias {
		return r.SetAlias(o.create, from)
	}
	c, err := r.Resolve(from)
	if err != nil {
		return err
	}
	if _, err := r.Commit(c); err != nil {
		return err
	}
	if o.collections {
		collection, name, ok := strings.Cut(o.create, ":")
		if !ok {
			return usage("refs --collections --create: want COLLECTION:REF")
		}
		return r.SetCollectionRef(repo.CollectionRef{Collection: collection, Name: name}, c)
	}
	return r.SetRef(o.create, c)
}

// each lists or deletes the refs below one prefix.
func (o *refsFlags) each(a *app, r *repo.Repo, prefix string) error {
	if o.collections {
		return o.ofCollection(a, r, prefix)
	}
	if o.alias && !o.delete {
		aliases, err := r.Aliases(prefix)
		if err != nil {
			return err
		}
		for _, name := range sortedKeys(aliases) {
			o.line(a, refJSON{Ref: name, AliasOf: aliases[name]}, name+" -> "+aliases[name])
		}
		return nil
	}
	refs, bad, err := r.RefsAndFaults(prefix)
	if err != nil {
		return err
	}
	names := sortedKeys(refs)
	if o.delete {
		return r.DeleteRefs(append(names, sortedKeys(bad)...))
	}
	text := func(name string) string {
		out := name
		if !o.list {
			out = withoutPrefix(name, prefix)
		}
		if o.revision {
			out += "\t" + refs[name].String()
		}
		return out
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(text(a), text(b)) })
	for _, name := range names {
		o.line(a, refJSON{Ref: name, Commit: refs[name].String()}, text(name))
	}
	for _, name := range sortedKeys(bad) {
		return fmt.Errorf("ref %q: %w", name, bad[name])
	}
	return nil
}

// withoutPrefix cuts "a/b/" off "a/b/c"; the remote's name stays. A ref that is the prefix itself is printed whole.
func withoutPrefix(name, prefix string) string {
	remote, below, ok := strings.Cut(prefix, ":")
	if !ok {
		remote, below = "", prefix
	}
	head := ""
	if remote != "" {
		head = remote + ":"
	}
	rest, cut := strings.CutPrefix(strings.TrimPrefix(name, head), strings.TrimSuffix(below, "/")+"/")
	if below == "" || !cut {
		return name
	}
	return head + rest
}

func (o *refsFlags) ofCollection(a *app, r *repo.Repo, collection string) error {
	refs, bad, err := r.CollectionRefsAndFaults(collection)
	if err != nil {
		return err
	}
	byText := map[string]repo.CollectionRef{}
	for ref := range refs {
		byText[ref.String()] = ref
	}
	if o.delete {
		for ref := range bad {
			byText[ref.String()] = ref
		}
	}
	for _, text := range sortedKeys(byText) {
		if o.delete {
			if err := r.DeleteCollectionRef(byText[text]); err != nil {
				return err
			}
			continue
		}
		ref := byText[text]
		if o.revision {
			text += "\t" + refs[ref].String()
		}
		o.line(a, refJSON{Collection: ref.Collection, Ref: ref.Name, Commit: refs[ref].String()}, text)
	}
	for ref, fault := range bad {
		if !o.delete {
			return fmt.Errorf("ref %s: %w", ref, fault)
		}
	}
	return nil
}
