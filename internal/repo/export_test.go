// SPDX-License-Identifier: Apache-2.0

package repo

// ReformatKeyfile parses a configuration file and writes it again.
func ReformatKeyfile(data []byte) ([]byte, error) {
	k, err := parseKeyfile(data)
	if err != nil {
		return nil, err
	}
	for _, g := range k.groups() {
		for _, key := range k.keys(g) {
			v, _ := k.get(g, key)
			if unescape(escape(unescape(v))) != unescape(v) {
				panic("escape of " + v)
			}
		}
	}
	return k.bytes(), nil
}
