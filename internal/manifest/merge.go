// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// layer is one file's values, with the keys that it really sets.
type layer struct {
	Manifest
	set map[string]bool
}

// inherit puts an included file's values under l's.
func (l *layer) inherit(parent *layer) {
	for _, k := range ownKeys {
		if k.field == nil || k.input {
			continue
		}
		own, from := k.field(&l.Manifest), k.field(&parent.Manifest)
		if k.Merge == mergeOwn {
			if !l.set[k.Name] && parent.set[k.Name] {
				assign(own, from)
				l.set[k.Name] = true
			}
			continue
		}
		join(own, from, k.Merge == mergeSet)
	}
	l.Ignored = unique(append(l.Ignored, parent.Ignored...))
}

func assign(own, from any) {
	switch p := own.(type) {
	case *string:
		*p = *from.(*string)
	case *bool:
		*p = *from.(*bool)
	case **bool:
		*p = *from.(**bool)
	case **Check:
		*p = *from.(**Check)
	default:
		panic(fmt.Sprintf("manifest: no assignment for %T", own))
	}
}

func join(own, from any, once bool) {
	switch p := own.(type) {
	case *[]string:
		*p = concat(*from.(*[]string), *p)
		if once {
			*p = unique(*p)
		}
	case *[][2]string:
		*p = concat(*from.(*[][2]string), *p)
	case *[][]string:
		*p = concat(*from.(*[][]string), *p)
	case *[]RepoPackages:
		*p = concat(*from.(*[]RepoPackages), *p)
	case *[]LocalPackage:
		*p = concat(*from.(*[]LocalPackage), *p)
	case *Overrides:
		o := from.(*Overrides)
		p.Remove = unique(concat(o.Remove, p.Remove))
		p.Replace = concat(o.Replace, p.Replace)
	case *Modules:
		m := from.(*Modules)
		p.Enable = unique(concat(m.Enable, p.Enable))
		p.Install = unique(concat(m.Install, p.Install))
		p.Disable = unique(concat(m.Disable, p.Disable))
	case *map[string]any:
		*p = underlay(*p, *from.(*map[string]any))
	case *map[string]string:
		*p = underlay(*p, *from.(*map[string]string))
	default:
		panic(fmt.Sprintf("manifest: no merge for %T", own))
	}
}

func concat[T any](first, second []T) []T {
	if len(first)+len(second) == 0 {
		return nil
	}
	return append(append(make([]T, 0, len(first)+len(second)), first...), second...)
}

func underlay[V any](own, from map[string]V) map[string]V {
	if len(own)+len(from) == 0 {
		return nil
	}
	out := make(map[string]V, len(own)+len(from))
	maps.Copy(out, from)
	maps.Copy(out, own)
	return out
}

// unique keeps the first of equal strings.
func unique(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	seen := make(map[string]bool, len(list))
	out := make([]string, 0, len(list))
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
