package roster

import (
	"testing"

	"candor/pkg/pii"
)

func TestPhoneCountry(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]string{
		"+12125550156": "US", "+447400123456": "GB", "+18765550123": "JM", "+88216123456": "", "no number": "", "": "",
	} {
		if got := PhoneCountry(pii.NewPhone(number)); got != want {
			t.Errorf("PhoneCountry(%q) = %q, want %q", number, got, want)
		}
	}
}
