// SPDX-License-Identifier: Apache-2.0

package deploy

// Abandon lets go of a staged deployment as a kill would: the lock goes, the files stay.
func (st *Staged) Abandon() {
	if st.hold != nil {
		st.hold.Close()
	}
}

var Near = near
