// SPDX-License-Identifier: Apache-2.0

package composefs

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
)

// ReadDump reads the text form of an image, so that tests can say what is in one.
//
//	source  containers/composefs man/composefs-dump.md
func readDump(r io.Reader) (*node, error) {
	byPath := map[string]*node{}
	type later struct {
		n      *node
		target string
	}
	var links []later
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		fields := strings.Split(in.Text(), " ")
		if len(fields) < 11 {
			return nil, fmt.Errorf("%q: want 11 fields", in.Text())
		}
		name := unescape(fields[0])
		n := &node{rare: &rare{}, name: filepath.Base(name)}
		mode, hard := strings.CutPrefix(fields[2], "@")
		num := func(i, base int) uint64 {
			v, err := strconv.ParseUint(fields[i], base, 64)
			if err != nil {
				panic(err)
			}
			return v
		}
		if hard {
			links = append(links, later{n, unescape(fields[8])})
		} else {
			m, err := strconv.ParseUint(mode, 8, 32)
			if err != nil {
				return nil, err
			}
			n.mode = uint32(m)
			n.nlink, n.uid, n.gid, n.rdev = uint32(num(3, 10)), uint32(num(4, 10)), uint32(num(5, 10)), uint32(num(6, 10))
			sec, nsec, _ := strings.Cut(fields[7], ".")
			n.mtimeSec, _ = strconv.ParseInt(sec, 10, 64)
			ns, _ := strconv.ParseUint(nsec, 10, 32)
			n.mtimeNsec = uint32(ns)
			if n.isRegular() {
				n.sizeBytes = num(1, 10)
			}
			if fields[8] != "-" && n.isLink() {
				n.target = unescape(fields[8])
			} else if fields[8] != "-" && n.isRegular() {
				n.object = "/" + unescape(fields[8])
			}
			if fields[9] != "-" {
				n.content = []byte(unescape(fields[9]))
			}
			if fields[10] != "-" && n.redirected() {
				n.digest = make([]byte, 32)
				if _, err := fmt.Sscanf(fields[10], "%x", &n.digest); err != nil {
					return nil, err
				}
			}
			for _, x := range fields[11:] {
				k, v, _ := strings.Cut(x, "=")
				n.setXattr(unescape(k), unescape(v))
			}
		}
		byPath[name] = n
		if name == "/" {
			n.name = ""
			continue
		}
		p := byPath[filepath.Dir(name)]
		if p == nil {
			return nil, fmt.Errorf("%s comes before its directory", name)
		}
		n.parent = p
		p.children = append(p.children, n)
	}
	for _, l := range links {
		l.n.link = byPath[l.target]
		if l.n.link == nil {
			return nil, fmt.Errorf("hard link to %q, which is not there", l.target)
		}
	}
	for _, n := range byPath {
		sortNodes(n.children)
	}
	return byPath["/"], in.Err()
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'x':
			v, _ := strconv.ParseUint(s[i+1:i+3], 16, 8)
			b.WriteByte(byte(v))
			i += 2
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
