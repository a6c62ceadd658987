package notice

import (
	"slices"
	"strings"

	"candor/pkg/playbook"
	"candor/pkg/roster"
	"candor/pkg/spell"
)

// use is how a name may stand in a text.
type use uint8

const (
	useValue  use = iota + 1 // {{x}}
	useFlag                  // {{#x}}…{{/x}}
	useList                  // {{#x}}…{{/x}}, with names of its own inside
	usePerson                // {{x}} within {{#x}}…{{/x}}, because not everybody has one
)

// placeholders are the names that texts may use, in the order in which they are told to people.
func placeholders(email bool) (all []string, uses map[string]use) {
	uses = map[string]use{}
	add := func(u use, names ...string) {
		for _, name := range names {
			all = append(all, name)
			uses[name] = u
		}
	}
	add(useValue, "code", "organisation.short_name", "organisation.legal_name", "organisation.phone", "organisation.phone_link",
		"organisation.phone_hours", "organisation.page", "organisation.address", "organisation.signatory.name", "organisation.signatory.title",
		"facts.reference", "facts.happened_when", "facts.found_when", "facts.what_happened", "facts.what_we_do", "language")
	add(usePerson, "given_name", "family_name")
	add(useList, "facts.what_you_can_do", "data_exposed")
	add(useFlag, "any_data", "call_bank", "freeze_credit")
	if email {
		add(useValue, "notice_date")
	}
	for _, k := range roster.AllDataKinds() {
		add(useFlag, "data."+k.String())
	}
	return all, uses
}

// names are those that a text uses.
type names map[string]bool

// tag is a placeholder in a text.
type tag struct {
	sigil byte // # ^ / or 0
	name  string
	at    int
}

// scan notes the names that a text uses, and returns every mistake in its placeholders.
func (n names) scan(text playbook.Text, email bool) (mistakes []error) {
	all, uses := placeholders(email)
	tags, mistakes := tagsIn(text)
	var open []tag
	for _, t := range tags {
		n[t.name] = true
		bad := func(message, remedy string) { mistakes = append(mistakes, text.Mistake(t.at, message, remedy)) }
		switch {
		case t.sigil == '/':
			if len(open) == 0 || open[len(open)-1].name != t.name {
				want := "delete it"
				if len(open) > 0 {
					want = "close {{" + string(open[len(open)-1].sigil) + open[len(open)-1].name + "}} first"
				}
				bad("{{/"+t.name+"}} closes nothing", want)
				continue
			}
			open = open[:len(open)-1]
			continue
		case t.sigil != 0:
			open = append(open, t)
		}
		within := func(name string) bool {
			return slices.ContainsFunc(open, func(o tag) bool { return o.sigil == '#' && o.name == name })
		}
		inList := t.name == "." && within("facts.what_you_can_do") || (t.name == "name" || t.name == "advice") && within("data_exposed")
		if inList && t.sigil == 0 {
			continue
		}
		switch u := uses[t.name]; {
		case u == 0 && (t.name == "." || t.name == "name" || t.name == "advice"):
			bad("{{"+t.name+"}} outside a list", "write it within {{#facts.what_you_can_do}} or {{#data_exposed}}")
		case u == 0:
			bad("unknown placeholder "+t.name, spell.Remedy(t.name, all))
		case u == useValue && t.sigil != 0:
			bad(t.name+" is always there", "write {{"+t.name+"}}, without # or ^")
		case (u == useFlag || u == useList) && t.sigil == 0:
			bad(t.name+" is no text", "write {{#"+t.name+"}} before and {{/"+t.name+"}} after what depends on it")
		case u == usePerson && t.sigil == 0 && !within(t.name):
			bad("not every customer has a "+t.name, "write {{#"+t.name+"}} before and {{/"+t.name+"}} after what is for those who have, and {{^"+t.name+"}} … {{/"+t.name+"}} for the others")
		}
	}
	for _, t := range open {
		mistakes = append(mistakes, text.Mistake(t.at, "{{"+string(t.sigil)+t.name+"}} is not closed", "write {{/"+t.name+"}} after what depends on it"))
	}
	if len(open) > 20 {
		mistakes = mistakes[:1]
	}
	return mistakes
}

// tagsIn finds the placeholders of a text.
func tagsIn(text playbook.Text) (tags []tag, mistakes []error) {
	s := text.String()
	for i := 0; ; {
		start := strings.Index(s[i:], "{{")
		if start < 0 {
			return tags, mistakes
		}
		start += i
		length := strings.Index(s[start:], "}}")
		if length < 0 {
			return tags, append(mistakes, text.Mistake(start, "a placeholder that does not end", "close it with }}"))
		}
		i = start + length + 2
		inner := strings.TrimSpace(s[start+2 : start+length])
		t := tag{at: start}
		switch {
		case inner == "":
			mistakes = append(mistakes, text.Mistake(start, "an empty placeholder", "write a name between the braces"))
			continue
		case strings.ContainsAny(inner, "{}\n"):
			mistakes = append(mistakes, text.Mistake(start, "a placeholder with too many braces", "write two before and two after the name"))
			continue
		case inner[0] == '!':
			continue
		case strings.IndexByte("#^/", inner[0]) >= 0:
			t.sigil, inner = inner[0], strings.TrimSpace(inner[1:])
		case strings.IndexByte("&>=", inner[0]) >= 0:
			mistakes = append(mistakes, text.Mistake(start, "{{"+inner[:1]+" has no meaning here", "write only the name between the braces"))
			continue
		}
		t.name = inner
		tags = append(tags, t)
	}
}

// mask returns what variants of a text that uses these names differ by.
func (n names) mask() (mask VariantKey) {
	for _, k := range roster.AllDataKinds() {
		if n["data_exposed"] || n["data."+k.String()] {
			mask.data = mask.data.With(k)
		}
	}
	for name, flag := range map[string]flags{
		"given_name": hasGivenName, "family_name": hasFamilyName, "any_data": hasData, "call_bank": callBank, "freeze_credit": freezeCredit,
	} {
		if n[name] {
			mask.flags |= flag
		}
	}
	return mask
}
