// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"grove/internal/trust"
)

// signFlags are the options of verbs that make signatures, named as ostree names them.
type signFlags struct{ keys trust.Keys }

// add declares them; what is what is signed, for their help.
func (s *signFlags) add(f *pflag.FlagSet, what string) {
	f.StringArrayVar(&s.keys.GPG, "gpg-sign", nil, "sign "+what+" with this OpenPGP key: an id, for which gpg is run, or the path (with a slash) of a file")
	f.StringVar(&s.keys.GPGHome, "gpg-homedir", "", "the GnuPG home with the key")
	f.StringArrayVar(&s.keys.Sign, "sign", nil, "sign "+what+" with this ed25519 secret key, in base64 (seen by others in the list of processes)")
	f.StringArrayVar(&s.keys.Files, "sign-from-file", nil, "sign "+what+" with the ed25519 secret keys in this file")
	f.StringVar(&s.keys.Type, "sign-type", "", "the type of --sign and --sign-from-file (default ed25519)")
}

// signers reads the keys. Signatures made from a file name the time of SOURCE_DATE_EPOCH, where that is set.
func (s *signFlags) signers(a *app) ([]trust.Signer, error) {
	epoch, ok, err := a.sourceDateEpoch()
	if err != nil {
		return nil, err
	}
	if ok {
		s.keys.Now = time.Unix(int64(epoch), 0)
	}
	return s.keys.Signers()
}

// sourceDateEpoch is the time that makers of reproducible things have instead of the clock's.
//
//	source  reproducible-builds.org, SOURCE_DATE_EPOCH
func (a *app) sourceDateEpoch() (sec uint64, ok bool, err error) {
	v := a.getenv("SOURCE_DATE_EPOCH")
	if v == "" {
		return 0, false, nil
	}
	sec, err = strconv.ParseUint(v, 10, 63)
	if err != nil || sec > math.MaxInt64/2 {
		return 0, false, usage("SOURCE_DATE_EPOCH=%s: want seconds since 1970", v)
	}
	return sec, true, nil
}

// now is the time that something is made at.
func (a *app) now() (uint64, error) {
	sec, ok, err := a.sourceDateEpoch()
	if err != nil || ok {
		return sec, err
	}
	return uint64(time.Now().Unix()), nil
}

// counted is a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
