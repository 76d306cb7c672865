// SPDX-License-Identifier: Apache-2.0

package delta_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"grove/internal/delta"
	"grove/internal/ostree"
	"grove/internal/trust"
)

// What ostree 2022.7 with libsodium signed, with the key of the seed 0101...01: testdata/ed25519 holds a commit, its
// commitmeta (commit --sign), a summary and its summary.sig (summary -u --sign), and a delta from nothing to the commit
// (static-delta generate --empty --inline --sign). The interop tests do the same with the program itself, both ways.
func TestSignedByOstree(t *testing.T) {
	const public = "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w="
	golden := func(name string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join("testdata/ed25519", name))
		ok(t, err)
		return data
	}
	right, err := trust.Ed25519FromKeys(public)
	ok(t, err)
	right.SignSummary = true
	_, stranger := signers(t, 2)
	stranger.SignSummary = true

	beside, err := ostree.ParseDetached(golden("commitmeta"))
	ok(t, err)
	verifies := map[string]func(data []byte, p trust.Policy) error{
		"commit":  func(data []byte, p trust.Policy) error { _, err := p.Commit(data, beside); return err },
		"summary": func(data []byte, p trust.Policy) error { _, err := p.Summary(data, golden("summary.sig")); return err },
		"superblock": func(data []byte, p trust.Policy) error {
			sb, err := delta.Read(bytes.NewReader(data), int64(len(data)))
			if err == nil {
				_, err = sb.Verify(p)
			}
			return err
		},
	}
	for name, verify := range verifies {
		data := golden(name)
		if err := verify(data, right); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if verify(data, stranger) == nil {
			t.Errorf("%s: a stranger's key is good", name)
		}
		for i := range data {
			changed := bytes.Clone(data)
			changed[i] ^= 1
			if verify(changed, right) == nil {
				t.Errorf("%s: byte %d is changed, and it is still good", name, i)
			}
		}
	}
	sb, err := delta.Read(bytes.NewReader(golden("superblock")), int64(len(golden("superblock"))))
	if err != nil || sb.Name.To != ostree.SumBytes(golden("commit")) || !bytes.Equal(sb.Commit, golden("commit")) {
		t.Errorf("the delta leads to %s, %v", sb.Name, err)
	}
}
