// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// maxRetryAfter bounds what a server can make us wait.
const maxRetryAfter = 30 * time.Second

// lasting marks an error that another try will not mend.
type lasting struct{ error }

func (e lasting) Unwrap() error { return e.error }

func permanent(err error) error { return lasting{err} }

// Lasting marks err, returned from a function under Retry, as one that another try will not mend. Its text stays.
func Lasting(err error) error {
	if err == nil {
		return nil
	}
	return permanent(err)
}

// later is a refusal of a server that says when to come back.
type later struct {
	error
	wait time.Duration
}

func (e later) Unwrap() error { return e.error }

func (c *Client) backOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = c.o.RetryDelay
	b.MaxInterval = 20 * c.o.RetryDelay
	return b
}

// Retry calls op until it succeeds, with growing pauses, at most Options.Tries times. It gives up at once on errors that
// another try does not mend: ErrNotFound, ErrOffline, ErrTooLarge, a certificate that is not trusted, an error marked with
// Lasting, a cancelled context. Other errors of op are tried again.
func (c *Client) Retry(ctx context.Context, op func() error) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := op()
		var l later
		switch {
		case err == nil:
			return struct{}{}, nil
		case isPermanent(ctx, err):
			return struct{}{}, backoff.Permanent(err)
		case errors.As(err, &l):
			return struct{}{}, errors.Join(err, &backoff.RetryAfterError{Duration: l.wait})
		}
		return struct{}{}, err
	}, backoff.WithBackOff(c.backOff()), backoff.WithMaxTries(uint(c.o.Tries)))
	return plain(err)
}

// plain takes off what Retry put around an error.
func plain(err error) error {
	var p *backoff.PermanentError
	if errors.As(err, &p) {
		err = p.Err
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		var l later
		if list := j.Unwrap(); len(list) == 2 && errors.As(list[0], &l) {
			err = list[0]
		}
	}
	return err
}

// Mends tells whether another try of what gave err, from this package, may do better.
func Mends(err error) bool { return err != nil && !isPermanent(context.Background(), err) }

func isPermanent(ctx context.Context, err error) bool {
	var l lasting
	return errors.As(err, &l) || ctx.Err() != nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrTooLarge)
}

// requestError gives the reason of a request that got no answer.
func requestError(u *url.URL, err error) error {
	var wrap *url.Error
	if errors.As(err, &wrap) {
		err = wrap.Err
	}
	text := fmt.Errorf("fetch %s: %w", u.Redacted(), err)
	var (
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		alert     *net.OpError
	)
	if errors.As(err, &alert) && alert.Op == "remote error" { // what the server says of our own certificate
		return permanent(fmt.Errorf("%w (the server refuses the client certificate, or wants one)", text))
	}
	if err.Error() == http.StatusText(http.StatusProxyAuthRequired) {
		return permanent(fmt.Errorf("fetch %s: %w", u.Redacted(), errProxyPassword))
	}
	if errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &host) ||
		strings.Contains(err.Error(), "redirect") || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return permanent(text)
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("fetch %s: server closed the connection without an answer", u.Redacted())
	}
	return text
}

// statusError gives the reason of an answer that is no content.
func (c *Client) statusError(u *url.URL, resp *http.Response) error {
	switch code := resp.StatusCode; {
	case code == http.StatusNotFound || code == http.StatusGone || code == http.StatusForbidden && c.o.ForbiddenIsMissing:
		return permanent(fmt.Errorf("fetch %s: %w (%s)", u.Redacted(), ErrNotFound, resp.Status))
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		err := fmt.Errorf("fetch %s: server says %s", u.Redacted(), resp.Status)
		if sec, e := strconv.Atoi(resp.Header.Get("Retry-After")); e == nil && sec >= 0 {
			return later{err, min(time.Duration(min(sec, 3600))*time.Second, maxRetryAfter)}
		}
		return err
	case code == http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("fetch %s: %w (%s)", u.Redacted(), errStale, resp.Status)
	case code >= 500 || code == http.StatusRequestTimeout:
		return fmt.Errorf("fetch %s: server says %s", u.Redacted(), resp.Status)
	}
	err := fmt.Errorf("fetch %s: server says %s", u.Redacted(), resp.Status)
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		err = fmt.Errorf("%w (the user name or the password is wrong, or none was given)", err)
	case http.StatusProxyAuthRequired:
		err = fmt.Errorf("fetch %s: %w", u.Redacted(), errProxyPassword)
	}
	return permanent(err)
}

var errProxyPassword = errors.New("the proxy wants another user name or password")
