// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"grove/internal/fetch"
	"grove/internal/pull"
)

// cookieYears is how long a cookie lives that was added by hand.
//
//	source  ostree src/ostree/ot-remote-cookie-util.c, ot_add_cookie_at
const cookieYears = 25

func (v *remoteVerbs) addCookie() *cobra.Command {
	return verb("add-cookie NAME DOMAIN PATH COOKIE VALUE", "send a cookie to a remote", `
Pulls from the remote NAME send COOKIE=VALUE to DOMAIN below PATH; a dot before DOMAIN stands for all its subdomains too. One of the
same domain, path and name is replaced. VALUE is seen by others in the list of processes while this runs.`, cobra.ExactArgs(5),
		func(_ *cobra.Command, args []string) error {
			now, err := v.a.now()
			if err != nil {
				return err
			}
			c := fetch.Cookie{Domain: args[1], Subdomains: strings.HasPrefix(args[1], "."), Path: args[2], Name: args[3], Value: args[4],
				ExpiresSec: time.Unix(int64(now), 0).UTC().AddDate(cookieYears, 0, 0).Unix()}
			if _, err := c.Line(); err != nil {
				return usage("%v", err)
			}
			r, err := v.open()
			if err != nil {
				return err
			}
			return pull.AddCookie(r, args[0], c)
		})
}

func (v *remoteVerbs) deleteCookie() *cobra.Command {
	return verb("delete-cookie NAME DOMAIN PATH COOKIE", "send a cookie no more", "Domain, path and name as remote list-cookies shows them.", cobra.ExactArgs(4),
		func(_ *cobra.Command, args []string) error {
			r, err := v.open()
			if err != nil {
				return err
			}
			return pull.DeleteCookie(r, args[0], args[1], args[2], args[3])
		})
}

type cookieJSON struct {
	Domain  string `json:"domain"`
	Path    string `json:"path"`
	Name    string `json:"name"`
	Value   string `json:"value"`
	Secure  bool   `json:"secure"`            // only over https
	Expires int64  `json:"expires,omitempty"` // seconds since 1970
}

func (v *remoteVerbs) listCookies() *cobra.Command {
	return verb("list-cookies NAME", "the cookies that are sent to a remote", "With their values.", cobra.ExactArgs(1),
		func(_ *cobra.Command, args []string) error {
			r, err := v.open()
			if err != nil {
				return err
			}
			all, err := pull.Cookies(r, args[0])
			if err != nil {
				return err
			}
			out := []cookieJSON{}
			for _, c := range all {
				out = append(out, cookieJSON{c.Domain, c.Path, c.Name, c.Value, c.Secure, c.ExpiresSec})
			}
			return v.a.show(out, func() {
				for _, c := range all {
					secure := "FALSE"
					if c.Secure {
						secure = "TRUE"
					}
					v.a.printf("--\nDomain: %s\nPath: %s\nName: %s\nSecure: %s\nExpires: %s\nValue: %s\n", c.Domain, c.Path, c.Name, secure,
						time.Unix(c.ExpiresSec, 0).UTC().Format("2006-01-02 15:04:05 -0700"), c.Value)
				}
			})
		})
}
