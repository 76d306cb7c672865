// SPDX-License-Identifier: Apache-2.0

// Package rpm reads RPM packages: lead, signature header, main header, payload, versions and dependencies.
//
// It opens no file, keeps no database, knows no key and decides nothing about trust: Package.Verify hands the
// signed bytes to a function of the caller. Packages of format 4 are read in full, those of format 3 and 6 as far
// as they are met in the wild.
//
// Invariants: a Header that was parsed has every entry inside its data; sizes are limited before memory is taken;
// a File has a clean absolute path (a source package: a bare name); content that Payload hands out as complete has
// the digest that the header gives.
package rpm
