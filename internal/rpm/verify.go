// SPDX-License-Identifier: Apache-2.0

package rpm

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
)

// VerifyFunc says who made the OpenPGP signature sig (binary or base64 armor taken off) over the signed bytes.
//
//	shape   signer for people: a fingerprint and perhaps a name
//	errors  an error with a method UnknownKey() string (the key's id) where the key is not at hand, one with a method
//	        DistrustedKey() string where it is revoked, expired or too weak; any other says that the signature is bad
type VerifyFunc func(signed io.Reader, sig []byte) (signer string, err error)

// Status is the outcome of Verify, from best to worst.
type Status int

// What can come of verifying a package.
const (
	Good           Status = iota // signed by a key that the caller trusts, every digest right
	NotSigned                    // no signature at all; digests, where there are any, are right
	UnknownKey                   // signed, but by keys that the caller does not have
	DistrustedKey                // signed by a key that is revoked, expired or too weak
	BadSignature                 // a signature by a known key that does not fit the bytes
	DigestMismatch               // damaged: a digest or the size in the signature header does not fit
)

// String gives the status as it stands in messages.
func (s Status) String() string {
	return [...]string{"good", "not signed", "signed by an unknown key", "signed by a distrusted key", "bad signature", "digest mismatch"}[s]
}

// Cover says what ties the payload to the good signature.
type Cover int

// How a payload is covered by a verdict of Good.
const (
	NotCovered      Cover = iota
	ByPayloadDigest       // the signed header has a digest of the payload, which reading the Payload checks (and Verify, given the file)
	BySignature           // a good signature spans header and payload
	ByFileDigests         // the signed header has the digest of each file, which reading the Payload checks
)

// SignatureResult is what one signature came to.
type SignatureResult struct {
	Tag          uint32 // its tag in the signature header
	WithPayload  bool   // it spans header and payload, not the header alone
	Status       Status // Good, UnknownKey, DistrustedKey or BadSignature
	Signer, Text string // of Good: who; else: why not, or the unknown key's id
}

// Verdict is what Verify found.
//
//	shape   Signer of Good: what the VerifyFunc returned; Detail for all others: one line for a person
type Verdict struct {
	Status     Status
	Signer     string
	Payload    Cover
	Detail     string
	Signatures []SignatureResult
}

// Err gives nil for Good and an error of one line for everything else.
func (v Verdict) Err() error {
	if v.Status == Good {
		return nil
	}
	if v.Detail == "" {
		return errors.New(v.Status.String())
	}
	return fmt.Errorf("%s: %s", v.Status, v.Detail)
}

// Verify judges a package by its digests and signatures. file is the whole package file, or nil: then only the header
// is judged, and a package whose only signature spans the payload gives an error.
//
// A signature over the header alone is enough if the signed header holds a digest of the payload, or of each file;
// those are checked by Payload, which the caller must read to its end. Where the header has no payload digest and a
// signature over header and payload is there and file is given, that one must be good too. All fields of the signature
// header are hints that nobody signed: they can make a verdict worse, never better.
//
//	errors  reading file fails; nil verify with signatures present counts every key as unknown
//	source  rpm lib/rpmvs.cc, lib/rpmchecksig.cc; docs/manual/signatures_digests.md
func (p *Package) Verify(file io.ReaderAt, verify VerifyFunc) (Verdict, error) {
	var v Verdict
	if err := p.checkHeaderDigests(); err != nil {
		return Verdict{Status: DigestMismatch, Detail: err.Error()}, nil
	}
	digest, err := p.Header.payloadDigest()
	if err != nil {
		return v, err
	}
	if file != nil {
		if err := p.checkPayloadDigests(file, digest); errors.Is(err, ErrDigest) {
			return Verdict{Status: DigestMismatch, Detail: err.Error()}, nil
		} else if err != nil {
			return v, err
		}
	}
	headerSigs, wholeSigs, err := p.signatures()
	if err != nil {
		return Verdict{Status: BadSignature, Detail: err.Error()}, nil
	}
	signed := p.Header.Immutable()
	for _, s := range headerSigs {
		v.add(judge(s, bytes.NewReader(signed), verify))
	}
	if len(headerSigs) > 0 {
		v.Payload = p.coverByHeader(digest)
	}
	if v.Payload == ByPayloadDigest || len(wholeSigs) == 0 {
		return v.sum(), nil
	}
	if file == nil {
		if v.Payload == ByFileDigests {
			return v.sum(), nil
		}
		return v, errors.New("verify: the signature spans the payload, which is not at hand")
	}
	for _, s := range wholeSigs {
		body := io.NewSectionReader(file, p.HeaderEnd, math.MaxInt64-p.HeaderEnd)
		v.add(judge(s, io.MultiReader(bytes.NewReader(signed), body), verify))
	}
	v = v.sum()
	for _, s := range v.Signatures {
		if s.WithPayload && s.Status == Good {
			v.Payload = BySignature
		}
	}
	return v, nil
}

func (v *Verdict) add(s SignatureResult) { v.Signatures = append(v.Signatures, s) }

// sum makes one verdict of all signatures: one bad one spoils all, else one good one is enough.
func (v Verdict) sum() Verdict {
	v.Status = NotSigned
	for _, s := range v.Signatures {
		better := s.Status == Good && v.Status != BadSignature && v.Status != Good
		if better || s.Status == BadSignature && v.Status != BadSignature ||
			v.Status == NotSigned || v.Status == UnknownKey && s.Status == DistrustedKey {
			v.Status, v.Signer, v.Detail = s.Status, s.Signer, s.Text
		}
	}
	if v.Status == Good && v.Payload == NotCovered {
		for _, s := range v.Signatures {
			if s.WithPayload && s.Status == Good {
				v.Payload = BySignature
			}
		}
		if v.Payload == NotCovered {
			v.Status, v.Signer, v.Detail = BadSignature, "", "the signed header has no digest of the payload, or not of all files"
		}
	}
	if v.Status != Good {
		v.Payload = NotCovered
	}
	return v
}

func judge(s signature, signed io.Reader, verify VerifyFunc) SignatureResult {
	r := SignatureResult{Tag: s.tag, WithPayload: s.withPayload, Status: UnknownKey, Text: "no keys"}
	if verify == nil {
		return r
	}
	signer, err := verify(signed, s.data)
	var unknown interface{ UnknownKey() string }
	var distrusted interface{ DistrustedKey() string }
	switch {
	case err == nil:
		r.Status, r.Signer, r.Text = Good, signer, ""
	case errors.As(err, &unknown):
		r.Status, r.Text = UnknownKey, unknown.UnknownKey()
	case errors.As(err, &distrusted):
		r.Status, r.Text = DistrustedKey, err.Error()
	default:
		r.Status, r.Text = BadSignature, err.Error()
	}
	return r
}

type signature struct {
	tag         uint32
	withPayload bool
	data        []byte
}

// signatures takes all signatures out of the signature header, each one once.
func (p *Package) signatures() (header, whole []signature, err error) {
	s := p.Signature
	for i, text := range s.Strings(TagOpenPGP) {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, nil, fmt.Errorf("signature %d: %w", i, err)
		}
		header = append(header, signature{tag: TagOpenPGP, data: data})
	}
	for _, tag := range []uint32{TagRSAHeader, TagDSAHeader} {
		header = appendOnce(header, signature{tag: tag, data: s.Bytes(tag)})
	}
	for _, tag := range []uint32{SigTagPGP, SigTagGPG} {
		if p.isV6() {
			break // format 6 knows no signature over the payload, and no tag of that range
		}
		whole = appendOnce(whole, signature{tag: tag, withPayload: true, data: s.Bytes(tag)})
	}
	return header, whole, nil
}

func appendOnce(list []signature, s signature) []signature {
	if len(s.data) == 0 {
		return list
	}
	for _, o := range list {
		if bytes.Equal(o.data, s.data) {
			return list
		}
	}
	return append(list, s)
}

func (p *Package) isV6() bool {
	n, ok := p.Header.Uint32(TagRPMFormat)
	return ok && n >= 6
}

// coverByHeader says how a signature over the header would cover the payload.
func (p *Package) coverByHeader(d Digest) Cover {
	if d.Hex != "" {
		return ByPayloadDigest
	}
	files, err := p.Header.Files()
	if err != nil {
		return NotCovered
	}
	for i := range files {
		if f := &files[i]; f.IsRegular() && !f.IsGhost() && f.Digest == "" {
			return NotCovered
		}
	}
	return ByFileDigests
}

// checkHeaderDigests compares the header with the digests in the signature header.
func (p *Package) checkHeaderDigests() error {
	var signed []byte
	for _, d := range []struct {
		tag  uint32
		algo string
	}{{TagSHA3Header, "sha3-256"}, {TagSHA256Header, "sha256"}, {TagSHA1Header, "sha1"}} {
		want := p.Signature.String(d.tag)
		if want == "" {
			continue
		}
		if signed == nil {
			signed = p.Header.Immutable()
		}
		h, err := newHash(d.algo)
		if err != nil {
			return err
		}
		h.Write(signed)
		if err := checkSum("header "+d.algo, h, want); err != nil {
			return err
		}
	}
	return nil
}

// checkPayloadDigests compares the file with the payload digest of the header and with size and MD5 of the signature
// header. MD5 is computed only where nothing better is there.
func (p *Package) checkPayloadDigests(file io.ReaderAt, d Digest) error {
	var hashes []io.Writer
	var payload, whole hash.Hash
	var err error
	if d.Hex != "" {
		if payload, err = newHash(d.Algo); err != nil {
			return err
		}
		hashes = append(hashes, payload)
	}
	md5 := p.Signature.Bytes(SigTagMD5)
	if d.Hex == "" && len(md5) > 0 && !p.isV6() {
		if whole, err = newHash("md5"); err != nil {
			return err
		}
		whole.Write(p.Header.Immutable())
		hashes = append(hashes, whole)
	}
	buf := make([]byte, rawBufferBytes)
	body := io.NewSectionReader(file, p.HeaderEnd, math.MaxInt64-p.HeaderEnd)
	n, err := io.CopyBuffer(io.MultiWriter(hashes...), struct{ io.Reader }{body}, buf)
	if err != nil {
		return fmt.Errorf("read payload: %w", err)
	}
	want, ok := p.Signature.Uint64(TagLongSigSize)
	if !ok {
		want, ok = p.Signature.Uint64(SigTagSize)
	}
	if got := uint64(p.HeaderEnd - p.HeaderStart + n); ok && !p.isV6() && got != want {
		return fmt.Errorf("header and payload: %w: got %d bytes, want %d", ErrDigest, got, want)
	}
	if payload != nil {
		if err := checkSum("payload "+d.Algo, payload, d.Hex); err != nil {
			return err
		}
	}
	if whole != nil && !bytes.Equal(whole.Sum(nil), md5) {
		return fmt.Errorf("header and payload md5: %w: got %x, want %x", ErrDigest, whole.Sum(nil), md5)
	}
	return nil
}
