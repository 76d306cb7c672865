// SPDX-License-Identifier: Apache-2.0

package pull

import (
	"strings"

	"grove/internal/ostree"
	"grove/internal/repo"
)

// localRemote is the repository at path as a remote that may have a name but no configuration.
func localRemote(r *repo.Repo, path, name string, o Options) (*remote, error) {
	if p, ok := localPath(path); ok {
		path = p
	}
	if name != "" {
		if err := ostree.CheckRemoteName(name); err != nil {
			return nil, err
		}
	}
	rem := &remote{name: name, plain: true}
	if o.GPGVerify || o.GPGVerifySummary {
		conf, err := r.Remote(name)
		if err != nil {
			return nil, err
		}
		conf.Options = withTrust(conf.Options, o)
		if rem.policy, err = newPolicy(r, conf, o.KeyDir); err != nil {
			return nil, err
		}
	}
	var err error
	rem.local, err = repo.Open(path)
	return rem, err
}

// withTrust is a copy of a remote's options with what is asked for this time.
func withTrust(options map[string]string, o Options) map[string]string {
	out := map[string]string{"gpg-verify": "false", "gpg-verify-summary": "false"}
	for k, v := range options {
		if !strings.HasPrefix(k, "gpg-verify") && !strings.HasPrefix(k, "sign-verify") {
			out[k] = v
		}
	}
	if o.GPGVerify {
		out["gpg-verify"] = "true"
	}
	if o.GPGVerifySummary {
		out["gpg-verify-summary"] = "true"
	}
	return out
}
