package roster

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nyaruka/phonenumbers"
)

//go:embed zones.tsv
var zonesTSV string

// places knows the time zones of countries, regions and, where a region has two, of postal codes.
type places struct {
	zones   map[string][]string          // by CC, CC-REGION, CC/123 and CC-REGION/123
	regions map[string]map[string]string // by country: folded name to code
	longest map[string]int               // by the part before the slash: the longest postal prefix
}

// read-only once it is loaded.
var loadPlaces = sync.OnceValue(func() *places { return parsePlaces(zonesTSV) })

func parsePlaces(tsv string) *places {
	p := &places{zones: map[string][]string{}, regions: map[string]map[string]string{}, longest: map[string]int{}}
	for line := range strings.Lines(tsv) {
		cols := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(cols) < 2 || strings.HasPrefix(line, "#") {
			continue
		}
		key := cols[0]
		p.zones[key] = strings.Split(cols[1], ",")
		if place, prefix, ok := strings.Cut(key, "/"); ok {
			p.longest[place] = max(p.longest[place], len(prefix))
			continue
		}
		country, region, ok := strings.Cut(key, "-")
		if !ok {
			continue
		}
		names := p.regions[country]
		if names == nil {
			names = map[string]string{}
			p.regions[country] = names
		}
		names[foldHeader(region)], names[region] = region, region
		if len(cols) > 2 {
			for name := range strings.SplitSeq(cols[2], "|") {
				if _, taken := names[foldHeader(name)]; !taken {
					names[foldHeader(name)] = region
				}
			}
		}
	}
	return p
}

// region returns the region's code, or the text as it is when the country's regions are not known.
func (p *places) region(country, text string) string {
	if code, ok := p.regions[country][text]; ok { // the usual case: a code as it should be
		return code
	}
	names := p.regions[country]
	if names == nil {
		return text
	}
	folded := foldHeader(text)
	if code, ok := names[folded]; ok {
		return code
	}
	// ISO 3166-2, as in US-NY.
	if code, ok := names[strings.TrimPrefix(folded, strings.ToLower(country))]; ok {
		return code
	}
	return text
}

// address returns the zones of an address, the likeliest first.
func (p *places) address(country, region, postal string) []string {
	if region != "" {
		place := country + "-" + region
		if zones, ok := p.zones[place]; ok {
			if z := p.byPostal(place, postal); z != nil {
				return z
			}
			return zones
		}
	}
	if z := p.byPostal(country, postal); z != nil {
		return z
	}
	return p.zones[country]
}

func (p *places) byPostal(place, postal string) []string {
	for n := min(p.longest[place], len(postal)); n > 0; n-- {
		if z, ok := p.zones[place+"/"+postal[:n]]; ok {
			return z
		}
	}
	return nil
}

// zoneReader finds customers' time zones. It belongs to one goroutine.
type zoneReader struct {
	places  *places
	columns map[string]string  // what a cell of the column says, "" for nothing known
	numbers map[*string]string // the library hands out the same list for the same prefix
}

func newZoneReader() *zoneReader {
	return &zoneReader{places: loadPlaces(), columns: map[string]string{}, numbers: map[*string]string{}}
}

// maxMemo bounds what is remembered about cells of a file.
const maxMemo = 10_000

// column reads a cell of the time zone column.
func (z *zoneReader) column(cell string) string {
	if name, ok := z.columns[cell]; ok {
		return name
	}
	name, err := zoneName(cell)
	if err != nil {
		name = ""
	}
	if len(z.columns) < maxMemo {
		z.columns[strings.Clone(cell)] = name
	}
	return name
}

// zoneName checks an IANA name.
func zoneName(s string) (string, error) {
	s = strings.ReplaceAll(strings.TrimSpace(s), " ", "_")
	if s == "" || s == "Local" || len(s) > 64 {
		return "", errors.New("no time zone")
	}
	if _, err := time.LoadLocation(s); err != nil {
		return "", fmt.Errorf("unknown time zone %q: use an IANA name such as America/New_York", safeWord(s))
	}
	return strings.Clone(s), nil
}

// number returns the time zone of a number, if it is tied to a place or its whole country has one clock.
func (z *zoneReader) number(n number) string {
	list, err := phonenumbers.GetTimezonesForPrefix(n.e164)
	if err != nil || len(list) == 0 || list[0] == phonenumbers.UNKNOWN_TIMEZONE {
		return ""
	}
	if !n.geographic() {
		// A mobile number says at best its country; toll-free ones not even that.
		regions := phonenumbers.GetRegionCodesForCountryCode(n.code)
		if len(regions) != 1 || len(z.places.zones[regions[0]]) == 0 {
			return ""
		}
	}
	name, ok := z.numbers[&list[0]]
	if !ok {
		name = oneClock(list)
		z.numbers[&list[0]] = name
	}
	return name
}

// oneClock returns the first of the zones if all clocks of the list agree, else nothing.
func oneClock(zones []string) string {
	first, err := time.LoadLocation(zones[0])
	if err != nil {
		return ""
	}
	for _, name := range zones[1:] {
		loc, err := time.LoadLocation(name)
		if err != nil || !sameClock(first, loc) {
			return ""
		}
	}
	return zones[0]
}

func sameClock(a, b *time.Location) bool {
	// Fixed years: the same file means the same customers whenever it is read.
	for t := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC); t.Year() < 2028; t = t.Add(12 * time.Hour) {
		_, x := t.In(a).Zone()
		_, y := t.In(b).Zone()
		if x != y {
			return false
		}
	}
	return true
}
