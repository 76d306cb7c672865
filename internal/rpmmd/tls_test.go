// SPDX-License-Identifier: Apache-2.0

package rpmmd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"grove/internal/fetch"
	"grove/internal/rpmmd"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{}
	a.cert, a.key = a.sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "wood"}})
	return a
}

// sign makes a certificate for a day around now; one with its own NotAfter ended then.
func (a *authority) sign(t *testing.T, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(1)
	c.NotBefore = time.Now().Add(-48 * time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(24 * time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// pair writes a certificate and its key as PEM files.
func pair(t *testing.T, dir, name string, cert *x509.Certificate, key *ecdsa.PrivateKey) (certFile, keyFile string) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert.Raw}, keyFile: {Type: "EC PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// tlsServer hands out dir to those who show a certificate of ca and the password.
func tlsServer(t *testing.T, dir string, ca *authority, expired bool) *httptest.Server {
	c := &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if expired {
		c.NotAfter = time.Now().Add(-24 * time.Hour)
	}
	cert, key := ca.sign(t, c)
	files := http.FileServer(http.Dir(dir))
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "me" || p != "pw" {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		files.ServeHTTP(w, r)
	}))
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// TestTLSOptions: a source behind certificates, a password and a proxy, as its .repo file describes them; what is wrong is said in a line,
// and the next mirror is asked.
func TestTLSOptions(t *testing.T) {
	dir, pems := repoDir(t, nil), t.TempDir()
	ca, other := newAuthority(t), newAuthority(t)
	caFile, _ := pair(t, pems, "ca", ca.cert, ca.key)
	otherFile, _ := pair(t, pems, "other", other.cert, other.key)
	mine, mineKey := ca.sign(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	certFile, keyFile := pair(t, pems, "client", mine, mineKey)
	theirs, theirsKey := other.sign(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	strange, strangeKey := pair(t, pems, "strange", theirs, theirsKey)
	joined := filepath.Join(pems, "joined.pem")
	var both []byte
	for _, f := range []string{certFile, keyFile} {
		data, _ := os.ReadFile(f)
		both = append(both, data...)
	}
	os.WriteFile(joined, both, 0o600)
	s, expired := tlsServer(t, dir, ca, false), tlsServer(t, dir, ca, true)
	proxied := proxyServer(t)

	good := map[string]string{"baseurl": s.URL, "sslcacert": caFile, "sslclientcert": certFile, "sslclientkey": keyFile, "username": "me", "password": "pw", "proxy": "_none_"}
	for _, tt := range []struct {
		name string
		set  map[string]string // "-" takes the key away
		err  string
	}{
		{"all right", nil, ""},
		{"key beside the certificate", map[string]string{"sslclientcert": joined, "sslclientkey": "-"}, ""},
		{"file URLs", map[string]string{"sslcacert": "file://" + caFile}, ""},
		{"unverified", map[string]string{"sslcacert": "-", "sslverify": "0"}, ""},
		{"an expired server unverified", map[string]string{"baseurl": expired.URL, "sslverify": "false"}, ""},
		{"the host's authorities", map[string]string{"sslcacert": "-"}, "signed by unknown authority"},
		{"wrong authority", map[string]string{"sslcacert": otherFile}, "signed by unknown authority"},
		{"expired", map[string]string{"baseurl": expired.URL}, "certificate has expired"},
		{"no client certificate", map[string]string{"sslclientcert": "-", "sslclientkey": "-"}, "the server refuses the client certificate, or wants one"},
		{"another's client certificate", map[string]string{"sslclientcert": strange, "sslclientkey": strangeKey}, "the server refuses the client certificate, or wants one"},
		{"another's key", map[string]string{"sslclientkey": strangeKey}, "does not match"},
		{"no such file", map[string]string{"sslcacert": pems + "/none"}, "none: no such file"},
		{"no certificate in it", map[string]string{"sslcacert": keyFile}, "no PEM certificate in it"},
		{"wrong password", map[string]string{"password": "pq"}, "401 Unauthorized (the user name or the password is wrong, or none was given)"},
		{"no password", map[string]string{"username": "-", "password": "-"}, "401 Unauthorized"},
		{"by a proxy", map[string]string{"proxy": proxied, "proxy_username": "p", "proxy_password": "x"}, ""},
		{"by a proxy, no password", map[string]string{"proxy": proxied}, "the proxy wants another user name or password"},
		{"by a proxy, wrong password", map[string]string{"proxy": proxied, "proxy_username": "p", "proxy_password": "y"}, "the proxy wants another user name or password"},
		{"next mirror", map[string]string{"baseurl": expired.URL + " " + s.URL}, ""},
	} {
		text := "[x]\nname=x\n"
		for key, value := range good {
			if v, ok := tt.set[key]; ok {
				value = v
			}
			if value != "-" {
				text += key + "=" + value + "\n"
			}
		}
		for key, value := range tt.set {
			if _, ok := good[key]; !ok {
				text += key + "=" + value + "\n"
			}
		}
		list, _, err := rpmmd.ParseRepoFile([]byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		client := fetch.New(fetch.Options{RetryDelay: time.Millisecond, HeaderTimeout: 5 * time.Second})
		_, err = rpmmd.Load(context.Background(), list[0], rpmmd.LoadOptions{Client: client})
		switch {
		case tt.err == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "pw")):
			t.Errorf("%s: got %v, want %q in one line", tt.name, err, tt.err)
		}
	}
}

// proxyServer is a proxy for https that wants a password.
func proxyServer(t *testing.T) string {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("p:x"))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != want {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		there, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		here, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		go func() {
			io.Copy(there, here)
			there.Close()
		}()
		io.Copy(here, there)
		here.Close()
	}))
	t.Cleanup(s.Close)
	return s.URL
}
