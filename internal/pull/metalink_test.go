// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"strings"
	"testing"
)

const metalinkText = `<metalink xmlns="http://www.metalinker.org/"><files><file name="other"/><file name="summary"><size>3</size><verification>
<hash type="md5">900150983cd24fb0d6963f7d28e17f72</hash><hash type="sha256">ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad</hash></verification>
<resources><url protocol="rsync">rsync://a/summary</url><url protocol="http"> http://a/x/summary </url><url>file:///etc/summary</url></resources></file></files></metalink>`

func TestParseMetalink(t *testing.T) {
	m, err := parseMetalink([]byte(metalinkText))
	if err != nil || m.size != 3 || m.algo != "sha256" || len(m.urls) != 1 || m.urls[0] != "http://a/x/summary" {
		t.Errorf("%+v %v", m, err)
	}
	if m.matches([]byte("abc")) != nil || m.matches([]byte("abd")) == nil || m.matches([]byte("abcd")) == nil {
		t.Error("the digest is not held")
	}
	for _, cut := range []string{`name="summary"`, "<size>3</size>", `type="sha256"`, "http://a/x/summary"} {
		if m, err := parseMetalink([]byte(strings.Replace(metalinkText, cut, "", 1))); err == nil {
			t.Errorf("without %s: %+v", cut, m)
		}
	}
}

func FuzzMetalink(f *testing.F) {
	f.Add([]byte(metalinkText))
	f.Add([]byte(`<metalink><files><file name="summary"><size>-1</size></file></files></metalink>`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseMetalink(data)
		if err == nil && (m.size <= 0 || m.size > maxSummary || len(m.digest) < 32 || len(m.urls) == 0 || len(m.urls) > maxMirrors) {
			t.Errorf("%+v", m)
		}
	})
}
