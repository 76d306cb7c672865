// SPDX-License-Identifier: Apache-2.0

package guest

// Names for the tests outside of the package.
var (
	DiffPackages = diffPackages
	DropRequest  = dropRequest
	ReplaceLocal = replaceLocal
	ResetOne     = resetOne
	BaseOf       = baseOf
	WhyOf        = why
	ReadIn       = readIn
	CheckRepo    = checkRepoFiles
	MoreEntries  = moreEntries
)
