package roster

import (
	"github.com/nyaruka/phonenumbers"

	"candor/pkg/pii"
)

// PhoneCountry returns the country whose numbering plan a number belongs to, as an ISO 3166 code; empty if that is no
// country's.
func PhoneCountry(p pii.Phone) string {
	n, err := phonenumbers.Parse(p.Reveal(), "")
	if err != nil {
		return ""
	}
	if code := phonenumbers.GetRegionCodeForNumber(n); len(code) == 2 {
		return code
	}
	return ""
}
