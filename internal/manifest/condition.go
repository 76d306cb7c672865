// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// variables are those of a manifest and the two that are always there.
func (l *loader) variables(own map[string]any, releasever string) map[string]any {
	always := map[string]any{"basearch": l.arch}
	if releasever != "" {
		always["releasever"] = releasever
	}
	return underlay(always, own)
}

func (l *loader) conditional(d *decoder, n *yaml.Node, scope func() map[string]any, include func(*yaml.Node) error) error {
	rows, err := d.sequence(n)
	if err != nil {
		return err
	}
	for _, row := range rows {
		var conditions []string
		var target *yaml.Node
		err := d.mapping(row, func(key string, at, v *yaml.Node) (err error) {
			switch key {
			case "if":
				if v.Kind == yaml.SequenceNode {
					conditions, err = d.strings(v)
					return err
				}
				one, err := d.text(v)
				conditions = []string{one}
				return err
			case "include":
				target = v
				return nil
			}
			return d.errorf(at, "unknown key %q; wanted if, include", key)
		})
		if err != nil {
			return err
		}
		if len(conditions) == 0 || target == nil {
			return d.errorf(row, "wanted both if and include")
		}
		ok, err := all(conditions, scope())
		if err != nil {
			return d.errorf(row, "%v", err)
		}
		if ok {
			if err := include(target); err != nil {
				return err
			}
		}
	}
	return nil
}

func all(conditions []string, vars map[string]any) (bool, error) {
	hold := true
	for _, c := range conditions {
		ok, err := holds(c, vars)
		if err != nil {
			return false, err
		}
		hold = hold && ok
	}
	return hold, nil
}

var conditionForm = regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*(==|!=|<=|>=|<|>)\s*(.+?)\s*$`)

// holds evaluates VARIABLE OP VALUE. Two whole numbers are compared as numbers, whether quoted or not, because
// releasever is written both ways.
func holds(condition string, vars map[string]any) (bool, error) {
	f := conditionForm.FindStringSubmatch(condition)
	if f == nil {
		return false, fmt.Errorf("condition %q: wanted VARIABLE OP VALUE with == != < <= > >=", condition)
	}
	have, ok := vars[f[1]]
	if !ok {
		return false, fmt.Errorf("condition %q: variable %q is not defined", condition, f[1])
	}
	order, err := compare(have, f[3])
	if err != nil {
		return false, fmt.Errorf("condition %q: %w", condition, err)
	}
	switch f[2] {
	case "==":
		return order == 0, nil
	case "!=":
		return order != 0, nil
	case "<":
		return order < 0, nil
	case "<=":
		return order <= 0, nil
	case ">":
		return order > 0, nil
	}
	return order >= 0, nil
}

func compare(have any, literal string) (int, error) {
	text := literal
	if n := len(text); n >= 2 && (text[0] == '"' || text[0] == '\'') && text[n-1] == text[0] {
		text = text[1 : n-1]
	} else if b, ok := have.(bool); ok {
		want, err := strconv.ParseBool(text)
		if err != nil {
			return 0, fmt.Errorf("got %s, wanted true or false", literal)
		}
		return strings.Compare(strconv.FormatBool(b), strconv.FormatBool(want)), nil
	}
	if _, ok := have.(bool); ok {
		return 0, errors.New("a boolean is compared with a string")
	}
	a, errA := strconv.ParseFloat(fmt.Sprint(have), 64)
	b, errB := strconv.ParseFloat(text, 64)
	if errA == nil && errB == nil {
		return cmp.Compare(a, b), nil
	}
	return strings.Compare(fmt.Sprint(have), text), nil
}

var variableForm = regexp.MustCompile(`\$\{[^}]*\}`)

// expand substitutes ${variables} in the keys that have them.
func expand(m *Manifest, vars map[string]any) error {
	for _, k := range ownKeys {
		if !k.expand {
			continue
		}
		var err error
		switch p := k.field(m).(type) {
		case *string:
			*p, err = substitute(*p, vars)
		case *map[string]any:
			for _, key := range sortedKeys(*p) {
				if s, ok := (*p)[key].(string); ok && err == nil {
					(*p)[key], err = substitute(s, vars)
				}
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", k.Name, err)
		}
	}
	return nil
}

func substitute(s string, vars map[string]any) (string, error) {
	var missing error
	out := variableForm.ReplaceAllStringFunc(s, func(ref string) string {
		v, ok := vars[ref[2:len(ref)-1]]
		if !ok {
			missing = fmt.Errorf("variable %s is not defined", ref)
		}
		return fmt.Sprint(v)
	})
	return out, missing
}
