package roster

import (
	"strings"
	"sync"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"
)

// read-only once they are loaded.
var (
	countryNames  = sync.OnceValue(loadCountries)
	languageNames = sync.OnceValue(loadLanguages)
)

func loadCountries() map[string]string {
	names := map[string]string{}
	for code := range loadPlaces().zones {
		if len(code) == 2 {
			names[foldHeader(code)] = code
		}
	}
	for _, code := range []string{"US", "MX", "CA", "BR", "AU", "RU", "ID", "MN", "FM", "KI", "CD", "GL", "KZ", "AQ", "UM"} {
		names[foldHeader(code)] = code
	}
	var codes []string
	for _, code := range names {
		codes = append(codes, code)
	}
	for _, in := range []language.Tag{language.English, language.Spanish} {
		namer := display.Regions(in)
		for _, code := range codes {
			region, err := language.ParseRegion(code)
			if err != nil {
				continue
			}
			names[foldHeader(namer.Name(region))] = code
			names[foldHeader(region.ISO3())] = code
		}
	}
	for code, others := range map[string]string{
		"US": "usa|u s a|united states of america|estados unidos de america|ee uu|eeuu|ee uu a|eua|america",
		"GB": "uk|great britain|england|scotland|wales|northern ireland|inglaterra|escocia|gales|gran bretana",
		"MX": "mejico|estados unidos mexicanos", "ES": "espana|spain", "NL": "holland|holanda|the netherlands", "CZ": "czech republic|republica checa",
		"KR": "south korea|corea del sur|korea", "RU": "russian federation", "VN": "viet nam", "AE": "uae|eau", "DO": "dominican republic|rep dominicana|republica dominicana",
		"TR": "turkey|turkiye", "CI": "ivory coast", "PR": "puerto rico", "BO": "bolivia", "VE": "venezuela", "PE": "peru",
	} {
		for name := range strings.SplitSeq(others, "|") {
			names[foldHeader(name)] = code
		}
	}
	return names
}

// maxName is more than the name of any country or language needs.
const maxName = 100

// country returns the ISO code of a country's code or name in English or Spanish.
func country(cell string) (string, bool) {
	if len(cell) > maxName {
		return "", false
	}
	code, ok := countryNames()[foldHeader(cell)]
	return code, ok
}

func loadLanguages() map[string]string {
	names := map[string]string{}
	english, spanish := display.Languages(language.English), display.Languages(language.Spanish)
	for _, code := range strings.Fields("af am ar az be bg bn bs ca cs cy da de el en es et eu fa fi fil fr ga gl gu ha he hi hmn hr ht hu hy id ig is it ja ka kk km kn ko ku ky lo lt lv mg mi mk ml mn mr ms my ne nl no om or pa pl ps pt ro ru rw sd si sk sl sm so sq sr sv sw ta te tg th ti tk tr uk ur uz vi xh yi yo zh zu") {
		tag := language.Make(code)
		for _, name := range []string{code, english.Name(tag), spanish.Name(tag), display.Self.Name(tag)} {
			if f := foldHeader(name); f != "" {
				if _, taken := names[f]; !taken || name == code {
					names[f] = code
				}
			}
		}
		if base, _ := tag.Base(); base.ISO3() != "" {
			if _, taken := names[base.ISO3()]; !taken {
				names[base.ISO3()] = code
			}
		}
	}
	for code, others := range map[string]string{
		"es": "castellano|castilian|esp|spa", "en": "ing|eng", "zh": "mandarin|chino|chinese simplified|simplified chinese", "zh-Hant": "cantonese|traditional chinese|chinese traditional",
		"fil": "tagalog|tl", "fa": "farsi", "ht": "creole|haitian creole|kreyol", "pt-BR": "brazilian portuguese|portugues de brasil", "nb": "norwegian bokmal",
	} {
		for name := range strings.SplitSeq(others, "|") {
			names[foldHeader(name)] = code
		}
	}
	return names
}

// languageTag returns the BCP 47 tag of a tag or a language's name in English, Spanish or itself.
func languageTag(cell string) (string, bool) {
	if len(cell) > maxName {
		return "", false
	}
	if code, ok := languageNames()[foldHeader(cell)]; ok {
		return code, true
	}
	// "English (US)", "Español - México": a language and where it is spoken.
	if name, place, ok := cutPlace(cell); ok {
		if code, ok := languageNames()[foldHeader(name)]; ok && !strings.Contains(code, "-") {
			if region, ok := country(place); ok {
				return code + "-" + region, true
			}
		}
	}
	tag, err := language.Parse(strings.ReplaceAll(strings.TrimSpace(cell), "_", "-"))
	if err != nil || tag == language.Und {
		return "", false
	}
	return tag.String(), true
}

func cutPlace(s string) (name, place string, ok bool) {
	if name, place, ok = strings.Cut(s, "("); ok {
		return name, strings.TrimRight(strings.TrimSpace(place), ")"), true
	}
	if name, place, ok = strings.Cut(s, "-"); ok && len(strings.TrimSpace(name)) > 3 {
		return name, place, true
	}
	return "", "", false
}
