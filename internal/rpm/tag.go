// SPDX-License-Identifier: Apache-2.0

package rpm

// Tag numbers of the main header and of the signature header.
//
//	source  rpm include/rpm/rpmtag.h; docs/manual/tags.md for those of format 6
const (
	TagHeaderImage      = 61
	TagHeaderSignatures = 62
	TagHeaderImmutable  = 63
	TagHeaderI18NTable  = 100

	// The names of signature fields once they stand in an rpmdb header.
	TagSigSize             = 257
	TagSigPGP              = 259
	TagSigMD5              = 261
	TagSigGPG              = 262
	TagPubkeys             = 266
	TagDSAHeader           = 267
	TagRSAHeader           = 268
	TagSHA1Header          = 269
	TagLongSigSize         = 270
	TagLongArchiveSize     = 271
	TagSHA256Header        = 273
	TagSigFileSignatures   = 274
	TagSigFileSigLength    = 275
	TagVeritySignatures    = 276
	TagVeritySignatureAlgo = 277
	TagOpenPGP             = 278
	TagSHA3Header          = 279

	// The numbers that only the signature header of a package file uses.
	SigTagSize          = 1000
	SigTagPGP           = 1002
	SigTagMD5           = 1004
	SigTagGPG           = 1005
	SigTagPayloadSize   = 1007
	SigTagReservedSpace = 1008
	SigTagReserved      = 999

	TagName              = 1000
	TagVersion           = 1001
	TagRelease           = 1002
	TagEpoch             = 1003
	TagSummary           = 1004
	TagDescription       = 1005
	TagBuildTime         = 1006
	TagBuildHost         = 1007
	TagInstallTime       = 1008
	TagSize              = 1009
	TagDistribution      = 1010
	TagVendor            = 1011
	TagLicense           = 1014
	TagPackager          = 1015
	TagGroup             = 1016
	TagURL               = 1020
	TagOS                = 1021
	TagArch              = 1022
	TagPreIn             = 1023
	TagPostIn            = 1024
	TagPreUn             = 1025
	TagPostUn            = 1026
	TagOldFilenames      = 1027
	TagFileSizes         = 1028
	TagFileStates        = 1029
	TagFileModes         = 1030
	TagFileRDevs         = 1033
	TagFileMTimes        = 1034
	TagFileDigests       = 1035
	TagFileLinkTos       = 1036
	TagFileFlags         = 1037
	TagFileUserName      = 1039
	TagFileGroupName     = 1040
	TagSourceRPM         = 1044
	TagFileVerifyFlags   = 1045
	TagArchiveSize       = 1046
	TagProvideName       = 1047
	TagRequireFlags      = 1048
	TagRequireName       = 1049
	TagRequireVersion    = 1050
	TagConflictFlags     = 1053
	TagConflictName      = 1054
	TagConflictVersion   = 1055
	TagRPMVersion        = 1064
	TagTriggerScripts    = 1065
	TagTriggerName       = 1066
	TagTriggerVersion    = 1067
	TagTriggerFlags      = 1068
	TagTriggerIndex      = 1069
	TagVerifyScript      = 1079
	TagChangelogTime     = 1080
	TagChangelogName     = 1081
	TagChangelogText     = 1082
	TagPreInProg         = 1085
	TagPostInProg        = 1086
	TagPreUnProg         = 1087
	TagPostUnProg        = 1088
	TagObsoleteName      = 1090
	TagVerifyScriptProg  = 1091
	TagTriggerScriptProg = 1092
	TagFileDevices       = 1095
	TagFileInodes        = 1096
	TagFileLangs         = 1097
	TagPrefixes          = 1098
	TagInstPrefixes      = 1099
	TagSourcePackage     = 1106
	TagProvideFlags      = 1112
	TagProvideVersion    = 1113
	TagObsoleteFlags     = 1114
	TagObsoleteVersion   = 1115
	TagDirIndexes        = 1116
	TagBasenames         = 1117
	TagDirNames          = 1118
	TagPayloadFormat     = 1124
	TagPayloadCompressor = 1125
	TagPayloadFlags      = 1126
	TagInstallColor      = 1127
	TagInstallTID        = 1128
	TagFileColors        = 1140
	TagFileClass         = 1141
	TagClassDict         = 1142
	TagPreTrans          = 1151
	TagPostTrans         = 1152
	TagPreTransProg      = 1153
	TagPostTransProg     = 1154

	TagLongFileSizes               = 5008
	TagLongSize                    = 5009
	TagFileCaps                    = 5010
	TagFileDigestAlgo              = 5011
	TagPreInFlags                  = 5020
	TagPostInFlags                 = 5021
	TagPreUnFlags                  = 5022
	TagPostUnFlags                 = 5023
	TagPreTransFlags               = 5024
	TagPostTransFlags              = 5025
	TagVerifyScriptFlags           = 5026
	TagTriggerScriptFlags          = 5027
	TagOrderName                   = 5035
	TagOrderVersion                = 5036
	TagOrderFlags                  = 5037
	TagRecommendName               = 5046
	TagRecommendVersion            = 5047
	TagRecommendFlags              = 5048
	TagSuggestName                 = 5049
	TagSuggestVersion              = 5050
	TagSuggestFlags                = 5051
	TagSupplementName              = 5052
	TagSupplementVersion           = 5053
	TagSupplementFlags             = 5054
	TagEnhanceName                 = 5055
	TagEnhanceVersion              = 5056
	TagEnhanceFlags                = 5057
	TagEncoding                    = 5062
	TagFileTriggerScripts          = 5066
	TagFileTriggerScriptProg       = 5067
	TagFileTriggerScriptFlags      = 5068
	TagFileTriggerName             = 5069
	TagFileTriggerIndex            = 5070
	TagFileTriggerVersion          = 5071
	TagFileTriggerFlags            = 5072
	TagTransFileTriggerScripts     = 5076
	TagTransFileTriggerScriptProg  = 5077
	TagTransFileTriggerScriptFlags = 5078
	TagTransFileTriggerName        = 5079
	TagTransFileTriggerIndex       = 5080
	TagTransFileTriggerVersion     = 5081
	TagTransFileTriggerFlags       = 5082
	TagFileTriggerPriorities       = 5084
	TagTransFileTriggerPriorities  = 5085
	TagFileSignatures              = 5090
	TagFileSignatureLength         = 5091
	TagPayloadDigest               = 5092 // named PAYLOADSHA256 since rpm 6
	TagPayloadDigestAlgo           = 5093
	TagModularityLabel             = 5096
	TagPayloadDigestAlt            = 5097
	TagPreUnTrans                  = 5103
	TagPostUnTrans                 = 5104
	TagPreUnTransProg              = 5105
	TagPostUnTransProg             = 5106
	TagPreUnTransFlags             = 5107
	TagPostUnTransFlags            = 5108
	TagSysusers                    = 5109
	TagPayloadSize                 = 5112
	TagRPMFormat                   = 5114
	TagPackageDigests              = 5118
	TagPackageDigestAlgos          = 5119
	TagPayloadSHA512               = 5121
	TagPayloadSHA512Alt            = 5122
	TagPayloadSHA3_256             = 5123
	TagPayloadSHA3_256Alt          = 5124
)

// Types of the values in a header.
//
//	source  rpm include/rpm/rpmtag.h, rpmTagType
const (
	TypeNull        = 0
	TypeChar        = 1
	TypeInt8        = 2
	TypeInt16       = 3
	TypeInt32       = 4
	TypeInt64       = 5
	TypeString      = 6
	TypeBin         = 7
	TypeStringArray = 8
	TypeI18NString  = 9
)

// Flags of a dependency.
//
//	source  rpm include/rpm/rpmds.h, rpmsenseFlags
const (
	SenseLess          = 1 << 1
	SenseGreater       = 1 << 2
	SenseEqual         = 1 << 3
	SensePosttrans     = 1 << 5
	SensePrereq        = 1 << 6
	SensePretrans      = 1 << 7
	SenseInterp        = 1 << 8
	SenseScriptPre     = 1 << 9
	SenseScriptPost    = 1 << 10
	SenseScriptPreUn   = 1 << 11
	SenseScriptPostUn  = 1 << 12
	SenseScriptVerify  = 1 << 13
	SenseFindRequires  = 1 << 14
	SenseFindProvides  = 1 << 15
	SenseTriggerIn     = 1 << 16
	SenseTriggerUn     = 1 << 17
	SenseTriggerPostUn = 1 << 18
	SenseMissingOK     = 1 << 19
	SensePreUnTrans    = 1 << 20
	SensePostUnTrans   = 1 << 21
	SenseRPMLib        = 1 << 24
	SenseTriggerPreIn  = 1 << 25
	SenseKeyring       = 1 << 26
	SenseConfig        = 1 << 28
	SenseMeta          = 1 << 29

	SenseCompare = SenseLess | SenseGreater | SenseEqual
)

// Flags of a file.
//
//	source  rpm include/rpm/rpmfiles.h, rpmfileAttrs
const (
	FileConfig    = 1 << 0
	FileDoc       = 1 << 1
	FileIcon      = 1 << 2
	FileMissingOK = 1 << 3
	FileNoReplace = 1 << 4
	FileSpecFile  = 1 << 5
	FileGhost     = 1 << 6
	FileLicense   = 1 << 7
	FileReadme    = 1 << 8
	FilePubkey    = 1 << 11
	FileArtifact  = 1 << 12
)

// Flags of a scriptlet.
//
//	source  rpm include/rpm/rpmds.h / lib/rpmscript.hh, rpmscriptFlags
const (
	ScriptExpand   = 1 << 0 // the body holds macros, to be expanded at install time
	ScriptQFormat  = 1 << 1 // the body is a query format, to be expanded with the header
	ScriptCritical = 1 << 2 // a failure fails the transaction element
)
