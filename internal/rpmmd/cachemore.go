// SPDX-License-Identifier: Apache-2.0

package rpmmd

import (
	"encoding/json"

	"grove/internal/rpm"
)

// content is what a source's metadata says, file lists apart.
type content struct {
	packages []rpm.Meta
	extras
}

// extras are the parts that are small beside the packages.
type extras struct {
	Groups         []Group         `json:",omitempty"`
	Environments   []Environment   `json:",omitempty"`
	Modules        []Module        `json:",omitempty"`
	ModuleDefaults []ModuleDefault `json:",omitempty"`
}

func packMore(c content) ([]byte, error) { return json.Marshal(c.extras) }

func unpackMore(data []byte) (e extras, err error) {
	if err := json.Unmarshal(data, &e); err != nil {
		return extras{}, errDamaged
	}
	return e, nil
}
