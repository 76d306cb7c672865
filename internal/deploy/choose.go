// SPDX-License-Identifier: Apache-2.0

package deploy

import "fmt"

// whyAsked is the reason for a kind that a person chose.
const whyAsked = "asked for"

// ChooseNext is Choose for a deployment that is made from another (nil = from none), whose kind stays where a person chose
// that.
//
//	errors  Composefs was asked for, and it is not possible here
func (s *Store) ChooseNext(asked Kind, from *Deployment) (Choice, error) {
	if asked != "" || from == nil || from.Why != whyAsked {
		return s.Choose(asked)
	}
	c, err := s.Choose(from.Kind)
	if err != nil {
		err = fmt.Errorf("%w (deployment %d was asked to be so; --deploy auto makes of the next what is possible)", err, from.ID)
	}
	return c, err
}
