// SPDX-License-Identifier: Apache-2.0

// Package fetch gets what a URL names: small things into memory, large ones into a file, objects as a stream.
//
// It knows http, https and file URLs. It does not know what the bytes mean and keeps no cache; it verifies a digest where
// the caller has one. Every transfer is bounded: in connection time, in silence, in slowness, and in size. Nothing is
// decompressed on the way: what the server has is what the caller gets. A redirect from https to http is refused.
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
	"os"
	"sync"
	"time"
)

// Errors that a caller can test with errors.Is.
var (
	ErrNotFound = errors.New("not found")           // the server or the disk says that there is no such thing
	ErrOffline  = errors.New("offline")             // Options.Offline is set and the URL needs a network
	ErrDigest   = errors.New("wrong digest")        // the bytes are not those that the digest names
	ErrTooLarge = errors.New("larger than allowed") // more bytes than the caller allowed
)

// Limits and times; the zero value of the field with the same name in Options means these.
const (
	defaultTries         = 3                // per URL, attempts that brought no byte
	defaultDialTimeout   = 10 * time.Second // a dead host shows within this
	defaultHeaderTimeout = 30 * time.Second // servers that make metadata on demand need some seconds
	defaultStallTimeout  = 30 * time.Second // a window in which StallBytes must come
	defaultStallBytes    = 3000             // 100 bytes a second: below that a mirror is no use
	maxRedirects         = 10
	maxIdle              = 32               // connections to one host that wait for the next request
	idleTimeout          = 60 * time.Second // after which such a connection is not used again
	readBuffer           = 64 << 10
	maxHeader            = 256 << 10 // of an answer
	maxErrorBody         = 64 << 10  // what is read of an error page so that the connection can be used again
)

// TLS says how https servers are met. File names are paths of PEM files.
type TLS struct {
	CAFile, CertFile, KeyFile string
	Insecure                  bool                              // accept any certificate
	ReadFile                  func(name string) ([]byte, error) // reads these files; nil = os.ReadFile
}

// Options of a Client; the zero value asks servers anonymously, with the host's certificates and proxy environment.
type Options struct {
	UserAgent string
	Proxy     string // URL of a proxy; "" = environment (HTTPS_PROXY ...), "none" = none
	ProxyUser string // of Proxy, where its URL names none
	ProxyPass string
	TLS       TLS
	Username  string // basic authentication, sent to AuthHosts only
	Password  string
	AuthHosts []string // host or host:port as in the URL, with or without the scheme before it; empty = every host that is asked first hand
	Offline   bool     // refuse everything but file URLs

	Headers [][2]string // further headers of each request: name, value
	HTTP1   bool        // no HTTP/2
	// ForbiddenIsMissing takes the answer 403 for ErrNotFound: object stores give it for what they do not have to those who may
	// not list it.
	ForbiddenIsMissing bool
	CookieFile         string // cookies in Netscape's format, as curl keeps them; "" or a missing file = none

	Tries         int // per URL
	DialTimeout   time.Duration
	HeaderTimeout time.Duration
	StallTimeout  time.Duration
	StallBytes    int64         // that must come within StallTimeout
	RetryDelay    time.Duration // first pause, grows by half each time; 0 = 0.3 s
}

// Client gets URLs. It is safe for concurrent use and keeps connections open between calls.
type Client struct {
	o    Options
	http *http.Client
	err  error // what was wrong with the options; each call returns it

	closing sync.Map // hosts that close the connection after each answer
}

// New makes a client. What is wrong with the options (no such CA file) is the error of each call.
func New(o Options) *Client {
	if o.Tries <= 0 {
		o.Tries = defaultTries
	}
	if o.DialTimeout <= 0 {
		o.DialTimeout = defaultDialTimeout
	}
	if o.HeaderTimeout <= 0 {
		o.HeaderTimeout = defaultHeaderTimeout
	}
	if o.StallTimeout <= 0 {
		o.StallTimeout = defaultStallTimeout
	}
	if o.StallBytes <= 0 {
		o.StallBytes = defaultStallBytes
	}
	if o.RetryDelay <= 0 {
		o.RetryDelay = 300 * time.Millisecond
	}
	if o.UserAgent == "" {
		o.UserAgent = "grove"
	}
	c := &Client{o: o}
	transport := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: o.DialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    o.DialTimeout,
		ResponseHeaderTimeout:  o.HeaderTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConns:           2 * maxIdle,
		MaxIdleConnsPerHost:    maxIdle,
		MaxConnsPerHost:        maxIdle,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // a .gz must arrive as it is
		ReadBufferSize:         readBuffer,
		MaxResponseHeaderBytes: maxHeader,
	}
	if o.HTTP1 {
		transport.ForceAttemptHTTP2 = false
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	transport.Proxy, c.err = proxy(o)
	if c.err == nil {
		transport.TLSClientConfig, c.err = tlsConfig(o.TLS)
	}
	c.http = &http.Client{Transport: transport, CheckRedirect: checkRedirect}
	if c.err == nil && o.CookieFile != "" {
		c.http.Jar, c.err = readCookies(o.CookieFile)
	}
	return c
}

// Options returns what the client was made with, defaults filled in: a caller changes a copy and calls New
// for a source with its own proxy, certificates or password.
func (c *Client) Options() Options { return c.o }

// Offline says whether the client refuses the network.
func (c *Client) Offline() bool { return c.o.Offline }

// ClosesConnections says whether the host of rawURL is known to close the connection after each answer. Many requests at a
// time make such a server slower: it drops connections that wait to be accepted, and those are tried again after a second.
func (c *Client) ClosesConnections(rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil {
		return false
	}
	_, closes := c.closing.Load(u.Host)
	return closes
}

// Close closes the idle connections. The client can still be used.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func proxy(o Options) (func(*http.Request) (*url.URL, error), error) {
	switch o.Proxy {
	case "":
		return http.ProxyFromEnvironment, nil
	case "none":
		return nil, nil
	}
	u, err := url.Parse(o.Proxy)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("parse proxy: not a URL with a host: %q", redact(o.Proxy))
	}
	if o.ProxyUser != "" && u.User == nil {
		u.User = url.UserPassword(o.ProxyUser, o.ProxyPass)
	}
	return http.ProxyURL(u), nil
}

func tlsConfig(t TLS) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.Insecure}
	read := t.ReadFile
	if read == nil {
		read = os.ReadFile
	}
	if t.CAFile != "" {
		pem, err := read(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read certificates: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read certificates %s: no PEM certificate in it", t.CAFile)
		}
	}
	if t.CertFile != "" {
		key := t.KeyFile
		if key == "" {
			key = t.CertFile
		}
		var pair tls.Certificate
		cert, err := read(t.CertFile)
		if err == nil {
			var secret []byte
			if secret, err = read(key); err == nil {
				pair, err = tls.X509KeyPair(cert, secret)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("read client certificate %s: %w", t.CertFile, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("redirect from https to %s refused", req.URL.Redacted())
	}
	return nil
}

// redact hides the password of a URL that may not parse.
func redact(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(URL that does not parse)"
	}
	return u.Redacted()
}

// Get returns what url names, at most maxBytes.
//
//	errors  ErrNotFound, ErrOffline, ErrTooLarge
func (c *Client) Get(ctx context.Context, url string, maxBytes int64) ([]byte, error) {
	p, err := c.GetIfNew(ctx, url, Page{}, maxBytes)
	return p.Data, err
}

// Open returns what url names as a stream, and its size in bytes, -1 if the server does not tell. Opening is tried again as
// Options.Tries says; reading is not: see Retry. A stalled stream ends in an error.
//
//	errors  ErrNotFound, ErrOffline
func (c *Client) Open(ctx context.Context, url string) (body io.ReadCloser, size int64, err error) {
	err = c.Retry(ctx, func() error {
		body, size, err = c.OpenOnce(ctx, url)
		return err
	})
	return body, size, err
}

// OpenOnce is Open without a second try, for use inside Retry.
func (c *Client) OpenOnce(ctx context.Context, url string) (io.ReadCloser, int64, error) {
	s, err := c.open(ctx, url, rangeFrom{})
	if err != nil {
		return nil, 0, err
	}
	return s, s.size, nil
}
