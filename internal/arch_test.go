// SPDX-License-Identifier: Apache-2.0

// Package internal_test holds the order of grove's packages as text and fails where the code differs.
package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// floors is the order of doc.go: a package imports only packages of lower floors.
const floors = `
1 durable gvariant keyfile rpm sign manifest rpmlua accounts selinux verity
2 ostree rpmdb solve fetch sandbox
3 tree rpmmd trust
4 repo composefs
5 importer scriptlet serve machine label delta image
6 compose pull deploy
7 guest mirror
8 cmd/grove
`

// testOnly are the makers of worlds for tests and demonstrations: no product package may import them.
var testOnly = map[string]bool{"fixture": true, "fixture/mkcopse": true, "fixture/hostroot": true}

// pure packages turn bytes into values and back; they know neither files nor time.
var pure = strings.Fields("gvariant keyfile ostree tree rpm solve manifest accounts selinux")

// impure are the imports that a pure package does without.
var impure = []string{"os", "net", "net/http", "os/exec", "log", "log/slog", "io/ioutil"}

// keepers names what only some packages may do: import or qualified name -> packages.
var keepers = map[string]string{
	"os/exec":  "sandbox fixture/hostroot",
	"net/http": "fetch serve",

	"os.Rename": "durable", "os.Symlink": "durable fixture/hostroot", "unix.Renameat": "durable", "unix.Renameat2": "durable",
	"unix.Rename": "durable", "unix.Syncfs": "durable", "unix.Fsync": "durable",
}

// thirdParty names each direct dependency with the packages that may use it.
var thirdParty = map[string]string{
	"github.com/ProtonMail/go-crypto": "sign",
	"github.com/cenkalti/backoff/v5":  "fetch",
	"github.com/klauspost/compress":   "rpm rpmmd repo fixture",
	"github.com/mikelolasagasti/xz":   "rpm rpmmd delta",
	"github.com/ulikunitz/xz":         "rpm delta",
	"github.com/google/rpmpack":       "fixture",
	"github.com/spf13/cobra":          "cmd/grove",
	"github.com/spf13/pflag":          "cmd/grove",
	"github.com/yuin/gopher-lua":      "rpmlua",
	"go.yaml.in/yaml/v4":              "manifest rpmmd",
	"golang.org/x/sync":               "*",
	"golang.org/x/sys":                "*",
	"golang.org/x/term":               "cmd/grove machine sandbox",
	"modernc.org/sqlite":              "rpmdb",
	"github.com/rogpeppe/go-internal": "",
	"github.com/google/go-cmp":        "",
}

// longFunctions and longFiles are allowed to be longer than the rule, each for its reason.
var (
	longFunctions = map[string]string{}
	longFiles     = map[string]string{}
)

const (
	maxFunctionLines = 100
	maxFileLines     = 600
)

type source struct {
	pkg, path string
	file      *ast.File
	fset      *token.FileSet
	lines     int
}

// sources parses every non-test Go file of the project, cgo files included.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, top := range []string{".", "../cmd"} {
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, path, text, parser.ParseComments)
			if err != nil {
				return err
			}
			pkg := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../")
			all = append(all, source{pkg, path, f, fset, strings.Count(string(text), "\n")})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 20 {
		t.Fatalf("found only %d source files", len(all))
	}
	return all
}

func floorTable(t *testing.T) map[string]int {
	t.Helper()
	table := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(floors), "\n") {
		words := strings.Fields(line)
		n, err := strconv.Atoi(words[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range words[1:] {
			table[w] = n
		}
	}
	return table
}

func TestImportsFollowTheFloors(t *testing.T) {
	table := floorTable(t)
	seen := map[string]bool{}
	for _, s := range sources(t) {
		seen[s.pkg] = true
		floor, known := table[s.pkg]
		if !known && !testOnly[s.pkg] {
			t.Errorf("%s: package %s is on no floor", s.path, s.pkg)
			continue
		}
		for _, path := range imports(s) {
			name, own := strings.CutPrefix(path, "grove/internal/")
			switch {
			case strings.HasPrefix(path, "grove/cmd"):
				t.Errorf("%s imports %s: nothing imports cmd", s.path, path)
			case !own || testOnly[s.pkg]:
			case testOnly[name]:
				t.Errorf("%s imports %s, which is for tests", s.path, name)
			case table[name] >= floor:
				t.Errorf("%s (floor %d) imports %s (floor %d)", s.path, floor, name, table[name])
			}
		}
	}
	for name := range table {
		if !seen[name] {
			t.Errorf("package %s of the floor table does not exist", name)
		}
	}
}

func TestEachDangerHasOneAddress(t *testing.T) {
	isPure := map[string]bool{}
	for _, p := range pure {
		isPure[p] = true
	}
	for _, s := range sources(t) {
		for _, path := range imports(s) {
			if isPure[s.pkg] {
				for _, bad := range impure {
					if path == bad {
						t.Errorf("%s imports %s: %s is pure", s.path, path, s.pkg)
					}
				}
			}
			if who, ok := keepers[path]; ok && !among(who, s.pkg) {
				t.Errorf("%s imports %s: only %s may", s.path, path, who)
			}
			checkThirdParty(t, s, path)
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			name := x.Name + "." + sel.Sel.Name
			if who, ok := keepers[name]; ok && !among(who, s.pkg) {
				t.Errorf("%s calls %s: only %s may", s.fset.Position(n.Pos()), name, who)
			}
			if isPure[s.pkg] && name == "time.Now" {
				t.Errorf("%s calls time.Now: %s is pure", s.fset.Position(n.Pos()), s.pkg)
			}
			return true
		})
	}
}

func checkThirdParty(t *testing.T, s source, path string) {
	t.Helper()
	first, _, _ := strings.Cut(path, "/")
	if !strings.Contains(first, ".") {
		return
	}
	for module, who := range thirdParty {
		if path == module || strings.HasPrefix(path, module+"/") {
			if who != "*" && !among(who, s.pkg) {
				t.Errorf("%s imports %s: only %s may", s.path, path, who)
			}
			return
		}
	}
	t.Errorf("%s imports %s, which is not in the table of dependencies", s.path, path)
}

func TestNothingIsTooLong(t *testing.T) {
	for _, s := range sources(t) {
		name := strings.TrimPrefix(filepath.ToSlash(s.path), "../")
		if _, allowed := longFiles[name]; s.lines > maxFileLines && !allowed {
			t.Errorf("%s has %d lines, at most %d", name, s.lines, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
			if _, allowed := longFunctions[name+":"+f.Name.Name]; n > maxFunctionLines && !allowed {
				t.Errorf("%s: %s has %d lines, at most %d", name, f.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	said, all := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		all[s.pkg] = true
		if s.file.Doc != nil && strings.TrimSpace(s.file.Doc.Text()) != "" {
			said[s.pkg] = true
		}
	}
	var silent []string
	for p := range all {
		if !said[p] {
			silent = append(silent, p)
		}
	}
	sort.Strings(silent)
	if len(silent) > 0 {
		t.Errorf("packages without a package comment: %s", strings.Join(silent, " "))
	}
}

func imports(s source) []string {
	var paths []string
	for _, i := range s.file.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

func among(list, name string) bool {
	for _, w := range strings.Fields(list) {
		if w == name {
			return true
		}
	}
	return false
}
