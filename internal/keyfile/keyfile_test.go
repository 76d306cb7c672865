// SPDX-License-Identifier: Apache-2.0

package keyfile_test

import (
	"bytes"
	"testing"

	"grove/internal/keyfile"
)

// What is not touched comes back byte for byte; what is set is read back.
func TestChange(t *testing.T) {
	const text = "# top\n[core]\n repo_version = 1 \nodd key[x]=\\s a\\n\n\n[remote \"x\"]\nurl=http://x/\n"
	for _, c := range []struct {
		name   string
		change func(k *keyfile.File)
		want   string
	}{
		{"nothing", func(k *keyfile.File) {}, text},
		{"set a new key", func(k *keyfile.File) { k.Set("core", "mode", "bare") },
			"# top\n[core]\n repo_version = 1 \nodd key[x]=\\s a\\n\nmode=bare\n\n[remote \"x\"]\nurl=http://x/\n"},
		{"set a key that is there", func(k *keyfile.File) { k.Set("core", "repo_version", "2") },
			"# top\n[core]\nrepo_version=2\nodd key[x]=\\s a\\n\n\n[remote \"x\"]\nurl=http://x/\n"},
		{"set in a new group", func(k *keyfile.File) { k.Set("archive", "zlib-level", "9") }, text + "\n[archive]\nzlib-level=9\n"},
		{"unset", func(k *keyfile.File) { k.Unset("core", "odd key[x]") },
			"# top\n[core]\n repo_version = 1 \n\n[remote \"x\"]\nurl=http://x/\n"},
		{"remove a group", func(k *keyfile.File) { k.RemoveGroup(`remote "x"`) }, "# top\n[core]\n repo_version = 1 \nodd key[x]=\\s a\\n\n\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := keyfile.Parse([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			c.change(k)
			if got := string(k.Bytes()); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("[core]\nrepo_version=1\nmode=bare\n\n# c\n[remote \"x\"]\nurl=http://x\\s\\n\\\\\n"))
	f.Add([]byte("[a]\nb = c\nb=d\n [e] \nf="))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := keyfile.Parse(data)
		if err != nil {
			return
		}
		for _, g := range k.Groups() {
			for _, key := range k.Keys(g) {
				v, _ := k.Get(g, key)
				if once := keyfile.Unescape(v); keyfile.Unescape(keyfile.Escape(once)) != once {
					t.Fatalf("escape of %q", v)
				}
			}
		}
		if want := append(bytes.TrimSuffix(data, []byte("\n")), '\n'); len(data) > 0 && !bytes.Equal(k.Bytes(), want) {
			t.Fatalf("%q became %q", data, k.Bytes())
		}
	})
}
