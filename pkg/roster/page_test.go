package roster

import (
	"bytes"
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"candor/pkg/pii"
	candorv1 "candor/proto/candor/v1"
)

var revealed = cmp.Options{
	cmp.Transformer("phone", pii.Phone.Reveal),
	cmp.Transformer("email", pii.Email.Reveal),
	cmp.Transformer("name", pii.Name.Reveal),
}

func drawPage(t *rapid.T) *Page {
	p := &Page{
		Number: rapid.Uint32().Draw(t, "number"), Tier: rapid.Uint8Range(1, 9).Draw(t, "tier"),
		TimeZone: "Europe/Madrid", Language: rapid.SampledFrom([]string{"es", "en-US"}).Draw(t, "language"),
	}
	text := rapid.StringN(0, 20, 60)
	n := rapid.IntRange(0, 30).Draw(t, "customers")
	p.Customers = make([]Customer, n)
	for i := range p.Customers {
		c := Customer{
			Ref: text.Draw(t, "ref"), Code: formatCode(rapid.Uint64Range(0, 1<<45-1).Draw(t, "code")),
			GivenName: pii.NewName(text.Draw(t, "given")), FamilyName: pii.NewName(text.Draw(t, "family")), Email: pii.NewEmail(text.Draw(t, "email")),
			Language: p.Language, TimeZone: p.TimeZone, Tier: p.Tier,
			Country: rapid.SampledFrom([]string{"", "US", "ES"}).Draw(t, "country"), Region: text.Draw(t, "region"), PostalCode: text.Draw(t, "postal"),
			ZoneSource: ZoneSource(rapid.Uint8Range(1, 4).Draw(t, "source")), Data: DataKinds(rapid.Uint32().Draw(t, "data")),
			Compromised: ChannelSet(rapid.Uint8Range(0, 7).Draw(t, "compromised")), OptOut: ChannelSet(rapid.Uint8Range(0, 7).Draw(t, "optout")),
		}
		for range rapid.IntRange(0, maxPhones).Draw(t, "phones") {
			c.Phones = append(c.Phones, pii.NewPhone(text.Draw(t, "phone")))
		}
		c.TextPhones = uint8(rapid.IntRange(0, len(c.Phones)).Draw(t, "texts"))
		if len(c.Phones) > 0 && rapid.Bool().Draw(t, "extended") {
			c.Extensions = make([]pii.Phone, len(c.Phones))
			c.Extensions[0] = pii.NewPhone("44")
		}
		p.Customers[i] = c
	}
	return p
}

func TestPageRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPage(t)
		b, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := UnmarshalPage(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(p, got, revealed); d != "" {
			t.Fatal(d)
		}
		for i := range got.Customers {
			c := got.Customers[i].Clone()
			if d := cmp.Diff(&p.Customers[i], &c, revealed); d != "" {
				t.Fatal(d)
			}
			// Adding a number must not write into the next customer's.
			_ = append(got.Customers[i].Phones, pii.NewPhone("x"))
		}
		if d := cmp.Diff(p, got, revealed); d != "" {
			t.Fatal(d)
		}
	})
}

func TestPageLimits(t *testing.T) {
	t.Parallel()
	if _, err := (&Page{Customers: make([]Customer, PageSize+1)}).Marshal(); err == nil {
		t.Error("a page of more than PageSize customers")
	}
	if _, err := (&Page{Customers: []Customer{{TextPhones: 1}}}).Marshal(); err == nil {
		t.Error("texts without a number")
	}
	good := pageOf(t)
	for name, damage := range map[string]func(*candorv1.RosterPage){
		"size":          func(m *candorv1.RosterPage) { m.Size++ },
		"huge size":     func(m *candorv1.RosterPage) { m.Size = 1 << 31 },
		"length":        func(m *candorv1.RosterPage) { m.Emails.Lengths[0]++ },
		"length of all": func(m *candorv1.RosterPage) { m.Emails.Lengths[0] = 1 << 31 },
		"no column":     func(m *candorv1.RosterPage) { m.Codes = nil },
		"word":          func(m *candorv1.RosterPage) { m.Countries.Indexes[0] = 99 },
		"numbers":       func(m *candorv1.RosterPage) { m.PhoneCounts[0]++ },
		"texts":         func(m *candorv1.RosterPage) { m.TextPhoneCounts[0] = 200 },
		"tier":          func(m *candorv1.RosterPage) { m.Tier = 300 },
		"extension":     func(m *candorv1.RosterPage) { m.Extensions = &candorv1.TextColumn{} },
		"channels":      func(m *candorv1.RosterPage) { m.BarredChannels = nil },
		"data":          func(m *candorv1.RosterPage) { m.Data = m.Data[1:] },
	} {
		var m candorv1.RosterPage
		if err := proto.Unmarshal(good, &m); err != nil {
			t.Fatal(err)
		}
		damage(&m)
		b, err := proto.Marshal(&m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := UnmarshalPage(b); err == nil {
			t.Errorf("%s: a damaged page is taken", name)
		}
	}
}

func pageOf(tb testing.TB) []byte {
	tb.Helper()
	var enc []byte
	_, err := Import(context.Background(), bytes.NewReader([]byte(small)), Options{Key: []byte("k")}, SinkFunc(func(_ context.Context, p *Page) (err error) {
		enc, err = p.Marshal()
		return err
	}))
	if err != nil {
		tb.Fatal(err)
	}
	return enc
}

func FuzzUnmarshalPage(f *testing.F) {
	f.Add(pageOf(f))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := UnmarshalPage(b)
		if err != nil {
			return
		}
		for i := range p.Customers {
			c := p.Customers[i].Clone()
			if int(c.TextPhones) > len(c.Phones) {
				t.Errorf("slot %d", i)
			}
			c.Reachable()
		}
	})
}
