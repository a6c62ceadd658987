package roster

// note is something odd about a row that is kept all the same.
type note uint32

const (
	// The first ones are those of phoneNote.
	noteEmailInvalid note = 1 << (notePhoneCount + iota)
	noteEmailUTF8
	noteRefMade
	noteRefDamaged
	noteNameTidied
	noteFormula
	noteUnreadable
	noteNameCut
	noteZoneUnknown
	noteTierBad
	noteLanguageUnknown
	noteCountryUnknown
	noteDataUnknown
	noteChannelUnknown
	noteFlagUnknown
	noteEncoding
	noteFewCells
	noteZoneSplit
	noteEnd
)

// blocking notes are about words whose meaning decides who is told what: the import may not be used until they are mapped.
const blocking = noteDataUnknown | noteChannelUnknown | noteFlagUnknown

// Codes of the blockers that list words.
const (
	codeDataUnknown    = "data_unknown"
	codeChannelUnknown = "channel_unknown"
)

// row returns what a report says about a note, and what to do.
func (n note) row() (code, text, remedy string) {
	switch n {
	case note(noteDamaged):
		return phoneNoteNames[0], "number damaged by a spreadsheet (as in 4.47911E+11); not guessed", "export the column as text and import again"
	case note(noteUnusable):
		return phoneNoteNames[1], "number is not valid in the customer's country or the default one", "add area and country code, or set the default country"
	case note(noteExtension):
		return phoneNoteNames[2], "number with an extension: a call may use it, a text may not", "nothing to do"
	case note(noteSeveral):
		return phoneNoteNames[3], "several numbers in one cell: all are kept", "nothing to do"
	case note(noteIDD):
		return phoneNoteNames[4], "number dialled with 00 or 011: read as +", "nothing to do"
	case note(noteElsewhere):
		return phoneNoteNames[5], "number is valid for the default country and not for the customer's own", "check the country column, or write numbers with + and the country code"
	case note(noteTooMany):
		return phoneNoteNames[6], "more than 8 numbers: the first 8 are kept", "put the best numbers first"
	case noteEmailInvalid:
		return "email_invalid", "not an e-mail address", "correct the address"
	case noteEmailUTF8:
		return "email_local_part_not_ascii", "address with letters before the @ that no e-mail provider of ours can send to", "ask for another address, or rely on telephone or post"
	case noteRefMade:
		return "ref_made", "no customer_ref: one was made, the same at every import with this incident's key", "add a customer_ref; the customer is told all the same"
	case noteRefDamaged:
		return "ref_damaged", "customer_ref damaged by a spreadsheet: taken as missing, because several customers can share it", "export the column as text and import again"
	case noteNameTidied:
		return "name_tidied", "line breaks or control characters in a name: made one line", "nothing to do"
	case noteFormula:
		return "formula_as_text", "a spreadsheet formula as a name: kept as inert text", "correct the name: it is how the customer is addressed"
	case noteUnreadable:
		return "name_unreadable", "a name with damaged letters (such as Ã± for ñ)", "export the file as UTF-8 and import again"
	case noteNameCut:
		return "name_cut", "a name longer than 200 letters: cut", "check that the column holds names"
	case noteZoneUnknown:
		return "zone_unknown", "unknown time zone: the default is used", "use an IANA name such as America/New_York"
	case noteTierBad:
		return "tier_unknown", "tier is not 1 to 9: the default is used", "correct the tier"
	case noteLanguageUnknown:
		return "language_unknown", "unknown language: the default is used", "use a BCP 47 tag such as es-MX"
	case noteCountryUnknown:
		return "country_unknown", "unknown country: taken as none", "use an ISO code such as MX"
	case noteDataUnknown:
		return codeDataUnknown, "unknown word for a kind of data", "map it, as in --map-data \"WORD=payment_card\""
	case noteChannelUnknown:
		return codeChannelUnknown, "unknown word for a channel", "use sms, email or call"
	case noteFlagUnknown:
		return "flag_unknown", "a no_sms, no_email or no_call cell that is neither yes nor no: taken as yes", "write yes or no"
	case noteEncoding:
		return "encoding_mixed", "a cell that is not UTF-8: read as Windows-1252", "export the whole file as UTF-8"
	case noteFewCells:
		return "cells_missing", "row has fewer cells than the header: the rest are taken as empty", "check that no line break cuts the row"
	case noteZoneSplit:
		return "zone_of_state", "region has two time zones and neither postal code nor number tells which: the larger one is used", "add a time_zone or postal_code column"
	}
	return "", "", ""
}
