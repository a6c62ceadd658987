package roster

import (
	"strings"
	"testing"

	"candor/pkg/pii"
)

func TestCallZones(t *testing.T) {
	t.Parallel()
	z, err := NewCallZones()
	if err != nil {
		t.Fatal(err)
	}
	const (
		newYork  = "+12125550100"
		tollFree = "+18005550199"
		madrid   = "+34612345678"
		split    = "+19075550110" // Alaska: two clocks
		seattle  = "+12065550100"
	)
	at := func(source ZoneSource, zone, country, region, postal string) Customer {
		return Customer{ZoneSource: source, TimeZone: zone, Country: country, Region: region, PostalCode: postal}
	}
	for _, tt := range []struct {
		name    string
		c       Customer
		phone   string
		want    string
		certain bool
	}{
		{"the file says it, whatever the number", at(ZoneFromColumn, "America/Phoenix", "US", "TX", ""), newYork, "America/Phoenix", true},
		{"address and number agree", at(ZoneFromAddress, "America/New_York", "US", "NY", ""), newYork, "America/New_York", true},
		{"moved and kept the number", at(ZoneFromAddress, "America/New_York", "US", "NY", ""), seattle, "America/Los_Angeles America/New_York", true},
		{"toll-free with an address", at(ZoneFromAddress, "America/Chicago", "US", "IL", ""), tollFree, "America/Chicago", true},
		{"toll-free without one", at(ZoneFromDefault, "America/New_York", "", "", ""), tollFree, "America/New_York", false},
		{"Arizona by postal code: the Navajo nation", at(ZoneFromAddress, "America/Denver", "US", "AZ", "86515"), tollFree, "America/Denver", true},
		{"a region with two clocks", at(ZoneFromAddress, "America/Phoenix", "US", "AZ", ""), tollFree, "America/Denver America/Phoenix", true},
		{"only the number", at(ZoneFromNumber, "Europe/Madrid", "", "", ""), madrid, "Europe/Madrid", true},
		{"a number with two clocks", at(ZoneFromDefault, "America/New_York", "", "", ""), split, "America/Adak America/Anchorage", true},
		{"the second number says nothing", at(ZoneFromNumber, "Europe/Madrid", "", "", ""), tollFree, "Europe/Madrid", true},
		{"no country of its own", at(ZoneFromAddress, "America/Chicago", "", "IL", ""), seattle, "America/Chicago America/Los_Angeles", true},
		{"nothing at all", at(ZoneFromDefault, "America/New_York", "", "", ""), "+447700900123", "America/New_York", false},
	} {
		got, certain := z.Of(&tt.c, pii.NewPhone(tt.phone))
		if strings.Join(got, " ") != tt.want || certain != tt.certain {
			t.Errorf("%s: %v, %t; want %s, %t", tt.name, got, certain, tt.want, tt.certain)
		}
	}
	c := at(ZoneFromAddress, "America/New_York", "US", "NY", "")
	one, _ := z.Of(&c, pii.NewPhone(seattle))
	other, _ := z.Of(&c, pii.NewPhone(seattle))
	if &one[0] != &other[0] {
		t.Error("the same zones are two lists")
	}
}

func BenchmarkCallZones(b *testing.B) {
	z, err := NewCallZones()
	if err != nil {
		b.Fatal(err)
	}
	c := Customer{ZoneSource: ZoneFromAddress, TimeZone: "America/New_York", Country: "US", Region: "NY", PostalCode: "10001"}
	p := pii.NewPhone("+12125550100")
	for b.Loop() {
		z.Of(&c, p)
	}
}
