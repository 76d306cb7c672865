//go:build deps

package grove

import (
	_ "github.com/ProtonMail/go-crypto/openpgp/v2"
	_ "github.com/cenkalti/backoff/v5"
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/google/rpmpack"
	_ "github.com/klauspost/compress/zstd"
	_ "github.com/knqyf263/go-rpmdb/pkg/bdb"
	_ "github.com/knqyf263/go-rpmdb/pkg/ndb"
	_ "github.com/mikelolasagasti/xz"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/spf13/cobra"
	_ "github.com/spf13/cobra/doc"
	_ "github.com/ulikunitz/xz"
	_ "github.com/yuin/gopher-lua"
	_ "go.yaml.in/yaml/v4"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/term"
	_ "gopkg.in/ini.v1"
	_ "modernc.org/sqlite"
)
