package roster

import (
	"slices"

	"github.com/nyaruka/phonenumbers"

	"candor/pkg/pii"
)

// zonesMost is how many zones an address or a number may have and still say where somebody is.
const zonesMost = 4

// CallZones finds the zones in which it must be a decent hour before a customer is called: people keep their numbers when
// they move, and addresses are old, so it is those of the address and those of the number. It belongs to one goroutine.
type CallZones struct {
	zones  *zoneReader
	phones *phoneReader
	unions map[string][]string // one list for all who have the same zones, by their names
}

// NewCallZones returns a CallZones.
func NewCallZones() (*CallZones, error) {
	phones, err := newPhoneReader("")
	if err != nil {
		return nil, err
	}
	return &CallZones{zones: newZoneReader(), phones: phones, unions: map[string][]string{}}, nil
}

// Of returns the zones of a customer who is called on one of their numbers, sorted, and false if nothing is known and the
// zone is the incident's. Lists are shared and must not be changed.
func (z *CallZones) Of(c *Customer, phone pii.Phone) (zones []string, certain bool) {
	if c.ZoneSource == ZoneFromColumn {
		return z.union([]string{c.TimeZone}, nil), true
	}
	number := z.number(phone)
	switch {
	case c.ZoneSource == ZoneFromAddress:
		return z.union(z.address(c), number), true
	case len(number) > 0:
		return z.union(number, nil), true
	}
	return z.union([]string{c.TimeZone}, nil), c.ZoneSource == ZoneFromNumber
}

func (z *CallZones) address(c *Customer) []string {
	if c.Country != "" {
		if zones := z.zones.places.address(c.Country, c.Region, c.PostalCode); len(zones) > 0 && len(zones) <= zonesMost {
			return zones
		}
	}
	return []string{c.TimeZone}
}

// number returns the zones of a number that is tied to a place; a mobile number says at best its country.
func (z *CallZones) number(phone pii.Phone) []string {
	n, _, ok := z.phones.one(phone.Reveal(), "")
	if !ok {
		return nil
	}
	if !n.geographic() {
		if name := z.zones.number(n); name != "" {
			return []string{name}
		}
		return nil
	}
	list, err := phonenumbers.GetTimezonesForPrefix(n.e164)
	if err != nil || len(list) == 0 || len(list) > zonesMost || list[0] == phonenumbers.UNKNOWN_TIMEZONE {
		return nil
	}
	return list
}

// union returns the one list of its zones that there is.
func (z *CallZones) union(a, b []string) []string {
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	all = slices.Compact(all)
	key := ""
	for _, name := range all {
		key += name + "\n"
	}
	if known, ok := z.unions[key]; ok {
		return known
	}
	if len(z.unions) < maxMemo {
		z.unions[key] = all
	}
	return all
}
