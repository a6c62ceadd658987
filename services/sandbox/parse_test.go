package sandbox

import (
	"bytes"
	"crypto/aes"
	"encoding/json"
	"hash/maphash"
	"maps"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func BenchmarkParse(b *testing.B) {
	body := []byte(`{"from":{"email":"notice@acme.example"},"subject":"x","personalizations":[`)
	for i := range 1000 {
		if i > 0 {
			body = append(body, ',')
		}
		n := string([]byte{'a' + byte(i/676), 'a' + byte(i/26%26), 'a' + byte(i%26)})
		body = append(body, `{"to":[{"email":"someone.`+n+`@example.com"}],"substitutions":{"-code-":"K7Q123456","-name-":"Ana María","-phone-":"0800 123 456"},"custom_args":{"candor_id":"BWluY2lkZW50LTIwMjYCdzABAg`+n+`.1.c2VjcmV0LW1hYy0x"}}`...)
	}
	body = append(body, `],"content":[{"type":"text/plain","value":"Dear -name-"}]}`...)
	var r mailRequest
	seed := maphash.MakeSeed()
	now := time.Now()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if !r.parse(body) {
			b.Fatal("no JSON")
		}
		if r.check(seed, now); len(r.problems) > 0 {
			b.Fatal(r.problems)
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "recipients/s")
}

// reference reads a body with encoding/json. ok is false where a name comes twice in an object: then the two may differ.
func reference(body []byte) (v any, ok bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	if !uniqueNames(d) {
		return nil, false
	}
	return v, json.Unmarshal(body, &v) == nil
}

func uniqueNames(d *json.Decoder) bool {
	t, err := d.Token()
	if err != nil {
		return false
	}
	switch t {
	case json.Delim('{'):
		seen := map[any]bool{}
		for d.More() {
			name, err := d.Token()
			if err != nil || seen[name] || !uniqueNames(d) {
				return false
			}
			seen[name] = true
		}
	case json.Delim('['):
		for d.More() {
			if !uniqueNames(d) {
				return false
			}
		}
	default:
		return true
	}
	_, err = d.Token()
	return err == nil
}

// into walks into a value that encoding/json made.
func into(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func asString(v any) string {
	s, _ := v.(string)
	return s
}

// FuzzParseMail holds the parser against encoding/json: the same bytes are JSON to both, and say the same.
func FuzzParseMail(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, `"x"`, `null`, ` { "a" : [ 1 , -2.5e+3 , true , false , null , "x" ] } `, `{"a":01}`, `{"a":1.}`, `{"a":-}`, `{,}`, `[1,]`, `{"a"}`, `{"a":1,}`,
		`{"subject":"\u00e9\ud83d\ude00\ud83d\n\"\\\/\b\f\r\t","from":{"email":"a@b.co","name":"A"}}`, `{"subject":"\ud800\u0041\udc00\ud800x"}`, "{\"subject\":\"\xff\xc3\x28\"}",
		"{\"subject\":\"a\x01\"}", `{"subject":"\x"}`, `{"subject":"\u12"}`, `{"subject":"`,
		`{"personalizations":[{"to":[{"email":"a@b.co","name":"\"A\""},{"email":"b@b.co"}],"cc":[{"email":"c@b.co"}],"substitutions":{"-a-":"1","-b-":""},"custom_args":{"candor_id":"n.1.m"},"subject":"s","send_at":5}],
		 "content":[{"type":"text/plain","value":"x"}],"sections":{":a:":"b"},"mail_settings":{"sandbox_mode":{"enable":true}},"categories":["x"],"send_at":123,"template_id":"d"}`,
		`{"personalizations":{},"from":"x","content":[1],"sections":[],"mail_settings":{"sandbox_mode":7},"categories":[1],"send_at":1.5}`,
		`{"from":{"email":"a@b.co"},"subject":"s","content":[{"type":"text/html","value":"-a- :s:"}],"sections":{":s:":"-a-"},"personalizations":[{"to":[{"email":"A@b.co","name":"A"}],"bcc":[{"email":"c@b.co"}],"substitutions":{"-a-":"x","\u0001":"","\u0000name":"y"},"custom_args":{"candor_id":"n.1.m"}}]}`,
		`{"headers":{"a":{"b":[[{}]]}},"custom_args":{"a":"b"}}`,
	} {
		f.Add([]byte(seed))
	}
	seed := maphash.MakeSeed()
	f.Fuzz(func(t *testing.T, body []byte) {
		var r mailRequest
		for range 2 { // the second time with what the first has left
			parsed := r.parse(body)
			if parsed != json.Valid(body) {
				t.Fatalf("parse = %v, json.Valid = %v", parsed, json.Valid(body))
			}
		}
		if r.check(seed, time.Now()); len(r.problems) == 0 && len(r.personalizations) > 0 {
			keepsWhatItTakes(t, &r)
		}
		want, ok := reference(body)
		if !ok || r.notObject {
			return
		}
		same := func(got []byte, path ...any) {
			t.Helper()
			if asString(into(want, path...)) != string(got) {
				t.Errorf("%v is %q, want %v", path, got, into(want, path...))
			}
		}
		same(r.subject, "subject")
		same(r.templateID, "template_id")
		same(r.from.email, "from", "email")
		same(r.from.name, "from", "name")
		same(r.replyTo.email, "reply_to", "email")
		for i, c := range r.contents {
			same(c.kind, "content", i, "type")
			same(c.value, "content", i, "value")
		}
		if on, _ := into(want, "mail_settings", "sandbox_mode", "enable").(bool); on != r.sandboxMode {
			t.Errorf("sandbox mode %v, want %v", r.sandboxMode, on)
		}
		sections, _ := into(want, "sections").(map[string]any)
		if len(sections) != len(r.sections) {
			t.Errorf("%d sections, want %d", len(r.sections), len(sections))
		}
		for _, s := range r.sections {
			same(s.value, "sections", string(s.tag))
		}
		var people []any // what is no object is complained about and left out
		list, _ := into(want, "personalizations").([]any)
		for _, p := range list {
			if m, ok := p.(map[string]any); ok {
				people = append(people, m)
			}
		}
		if len(people) != len(r.personalizations) {
			t.Fatalf("%d personalizations, want %d", len(r.personalizations), len(people))
		}
		for i := range r.personalizations {
			p := &r.personalizations[i]
			want = people[i]
			same(p.subject, "subject")
			same(p.id, "custom_args", "candor_id")
			tags, _ := into(want, "substitutions").(map[string]any)
			if n := p.endSubstitution - p.firstSubstitution; n != len(tags) {
				t.Errorf("%d substitutions, want %d", n, len(tags))
			}
			for _, s := range r.substitutions[p.firstSubstitution:p.endSubstitution] {
				same(s.value, "substitutions", string(s.tag))
			}
			recipients := 0
			for _, name := range []string{"to", "cc", "bcc"} {
				people, _ := into(want, name).([]any)
				for _, to := range people {
					if _, ok := to.(map[string]any); ok {
						recipients++
					}
				}
			}
			if n := p.endRecipient - p.firstRecipient; n != recipients {
				t.Errorf("%d recipients, want %d", n, recipients)
			}
			for _, to := range r.recipients[p.firstRecipient:p.endRecipient] {
				same(to.email, to.list, to.at, "email")
				same(to.name, to.list, to.at, "name")
			}
		}
	})
}

// keepsWhatItTakes holds what a mailroom gives back against what was parsed.
func keepsWhatItTakes(t *testing.T, r *mailRequest) {
	t.Helper()
	ids, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	m := newMailroom(1<<20, ids)
	m.take(r, time.Now())
	for i := range r.recipients {
		if got := m.address(m.mails.at(uint32(i)).mailbox); !bytes.Equal(got, r.recipients[i].lower) {
			t.Errorf("mail %d is to %q, want %q", i, got, r.recipients[i].lower)
		}
		m.open(uint32(i))
	}
	n := uint32(0)
	for _, p := range r.personalizations {
		want := map[string]string{}
		for _, s := range r.substitutions[p.firstSubstitution:p.endSubstitution] {
			want[string(s.tag)] = string(s.value)
		}
		for range p.endRecipient - p.firstRecipient {
			got := map[string]string{}
			for _, v := range m.values(m.mails.at(n)) {
				if v.tag != tagName && v.tag != tagSubject {
					got[v.tag] = v.value
				}
			}
			if len(m.letters) > 1 && !maps.Equal(got, want) {
				t.Errorf("mail %d has tags %q, want %q", n, got, want)
			}
			n++
		}
	}
}

// FuzzParseForm holds the form's parser against net/url.
func FuzzParseForm(f *testing.F) {
	for _, seed := range []string{
		"", "To=%2B447911123456&From=%2B1&Body=a+b%20c", "Body", "Body&Body=x", "Body=&Body=x", "&&=&", "Body=%", "Body=%4", "Body=%zz", "%42ody=x", "X=%",
		"Body=a=b", "StatusCallback=https%3A%2F%2Fx%2Fy%23rc%3D5", "ScheduleType=fixed",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if bytes.ContainsRune(body, ';') {
			return // an error to net/url, a character like any other to Twilio
		}
		want, err := url.ParseQuery(string(body))
		var got textForm
		ok := got.parse(bytes.Clone(body))
		if err != nil {
			return // we do not look into parameters that we ignore
		}
		if !ok {
			t.Fatal("net/url can read it")
		}
		for name, value := range map[string][]byte{
			"To": got.to, "From": got.from, "MessagingServiceSid": got.service, "Body": got.body, "StatusCallback": got.callback, "ValidityPeriod": got.validity,
		} {
			if want.Get(name) != string(value) {
				t.Errorf("%s is %q, want %q", name, value, want.Get(name))
			}
		}
	})
}

func FuzzOpaqueID(f *testing.F) {
	for _, seed := range []string{"n.1.m", "", ".", "..", "n..m", "n.1.", "n.65535.m", "n.65536.m", "n.1.m.m", "n .1.m"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		id, ok := parseOpaqueID(raw)
		if !ok {
			return
		}
		again := append(strconv.AppendUint(append(bytes.Clone(id.notice), '.'), uint64(id.attempt), 10), '.')
		if !bytes.HasPrefix(raw, append(bytes.Clone(id.notice), '.')) || bytes.ContainsRune(id.notice, '.') || len(id.notice) == 0 || len(again) > len(raw) && raw[len(id.notice)+1] != '0' {
			t.Errorf("parseOpaqueID(%q) = %q, %d", raw, id.notice, id.attempt)
		}
	})
}

func TestAppendJSONAgreesWithEncodingJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "s")
		var got string
		if err := json.Unmarshal(appendJSON(nil, s), &got); err != nil || got != strings.ToValidUTF8(s, "\uFFFD") && !strings.Contains(got, "\uFFFD") {
			t.Errorf("appendJSON(%q) = %s: %v", s, appendJSON(nil, s), err)
		}
		b, _ := json.Marshal(s)
		var want string
		_ = json.Unmarshal(b, &want)
		if got != want {
			t.Errorf("appendJSON(%q) reads back as %q, want %q", s, got, want)
		}
	})
}

func TestValidAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"a@example.com": true, "a.b+c_d@sub.example.co": true, "o'hara@example.com": true, "A@EXAMPLE.COM": true, "a@xn--mnchen-3ya.de": true, "1@2.co": true,
		"": false, "a": false, "@example.com": false, "a@": false, "a@example": false, "a@.com": false, "a@example.": false, "a@example..com": false, "a@-x.com": false,
		"a@x-.com": false, "a@example.c": false, ".a@example.com": false, "a.@example.com": false, "a..b@example.com": false, "a b@example.com": false,
		"a@exa mple.com": false, "a@b@example.com": false, "ä@example.com": false, "a@münchen.de": false, "a@example.com\n": false, "\"a b\"@example.com": false,
		strings.Repeat("a", 64) + "@example.com": true, strings.Repeat("a", 65) + "@example.com": false,
		"a@" + strings.Repeat("b", 63) + ".com": true, "a@" + strings.Repeat("b", 64) + ".com": false, "a@" + strings.Repeat("b.", 130) + "com": false,
	} {
		if got := validAddress([]byte(address)); got != want {
			t.Errorf("validAddress(%q) = %v, want %v", address, got, want)
		}
	}
}

// TestStoresKeepWhatTheyAreGiven fills the stores beyond one chunk of each.
func TestStoresKeepWhatTheyAreGiven(t *testing.T) {
	t.Parallel()
	var (
		a    arena
		r    records[uint64]
		x    index
		seed = maphash.MakeSeed()
	)
	const n = 3 * recordsPerChunk
	word := func(i int) []byte { return bytes.Repeat([]byte(strconv.Itoa(i)), 1+i%400) }
	for i := range n {
		if _, ok := x.find(hash32(seed, word(i)), func(k uint32) bool { return bytes.Equal(a.get(*r.at(k), len(word(i))), word(i)) }); ok {
			t.Fatalf("%d is found before it is there", i)
		}
		x.add(hash32(seed, word(i)), r.add(a.put(word(i))))
	}
	huge := bytes.Repeat([]byte("x"), 3*arenaChunkBytes)
	at := a.put(huge[:1], huge)
	if !bytes.Equal(a.get(at+1, len(huge)), huge) {
		t.Error("what is larger than a chunk is not kept")
	}
	for i := range n {
		k, ok := x.find(hash32(seed, word(i)), func(k uint32) bool { return bytes.Equal(a.get(*r.at(k), len(word(i))), word(i)) })
		if !ok || k != uint32(i) {
			t.Fatalf("%d is found as %d, %v", i, k, ok)
		}
	}
}
