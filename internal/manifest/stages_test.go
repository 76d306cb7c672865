// SPDX-License-Identifier: Apache-2.0

package manifest_test

import (
	"strings"
	"testing"

	"grove/internal/manifest"
)

func TestLockStages(t *testing.T) {
	lock := func(stages string) string {
		p := `{"nevra":"a-1-1.noarch","source":"s","digest":"sha256:` + strings.Repeat("1", 64) + `"}`
		return `{"version":1,"packages":[` + p + `,` + strings.Replace(p, "a-1", "b-1", 1) + `],"inputs":"x","timestamp":1,"stages":[` + stages + `]}`
	}
	if _, err := manifest.ParseLock([]byte(lock(`{"packages":1},{"packages":2}`))); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{`{"packages":2},{"packages":1}`, `{"packages":1},{"packages":1}`, `{"packages":1}`, `{"packages":3}`, `{"packages":-1},{"packages":2}`,
		`{"packages":1,"users":1},{"packages":2}`, `{"packages":1},{"packages":2,"removed":1}`} {
		if _, err := manifest.ParseLock([]byte(lock(bad))); err == nil || !strings.Contains(err.Error(), "stage") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
