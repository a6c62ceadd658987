package roster

import (
	"encoding/json"
	"strings"
)

// object reads one line of NDJSON as cells and the fields they belong to. bad says that it is not a JSON object; the line
// is then the only cell.
func (w *worker) object(line string) (cells []string, fields []field, bad bool) {
	cells, fields = w.cells[:0], w.objFields[:0]
	line = strings.TrimSpace(line)
	if line == "" {
		return cells, fields, false
	}
	if !validUTF8(line) {
		line = from1252(line)
	}
	if line[0] != '{' || !json.Valid([]byte(line)) {
		return append(cells, line), fields, true
	}
	// The line is valid JSON from here on: cutting it up needs no more care.
	rest := strings.TrimSpace(line[1:])
	for rest[0] == '"' {
		var key, value string
		key, rest = cutJSON(rest)
		rest = strings.TrimSpace(strings.TrimSpace(rest)[1:]) // the colon
		value, rest = cutJSON(rest)
		name := jsonText(key)
		f, ok := w.keys[name]
		if !ok {
			f, _ = w.headers.resolve(name)
			if len(w.keys) < maxMemo {
				w.keys[strings.Clone(name)] = f
			}
		}
		// The name belongs to the cell: the digest must tell {"a":1} from {"b":1}.
		cells, fields = append(cells, name, jsonText(value)), append(fields, fieldNone, f)
		rest = strings.TrimSpace(rest)
		if rest[0] == ',' {
			rest = strings.TrimSpace(rest[1:])
		}
	}
	return cells, fields, false
}

// cutJSON cuts the first value off valid JSON.
func cutJSON(s string) (value, rest string) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			for i++; s[i] != '"'; i++ {
				if s[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			if depth--; depth < 0 {
				return s[:i], s[i:]
			}
		case ',', ':':
			if depth == 0 {
				return s[:i], s[i:]
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return s[:i+1], s[i+1:]
		}
	}
	return s, ""
}

// jsonText returns a value as a cell: a list becomes lines, null nothing, numbers and true stay as they are written.
func jsonText(v string) string {
	v = strings.TrimSpace(v)
	switch {
	case v == "null":
		return ""
	case v == "" || v[0] != '"' && v[0] != '[':
		return v
	case v[0] == '"':
		if inner := v[1 : len(v)-1]; strings.IndexByte(inner, '\\') < 0 {
			return inner
		}
		var s string
		if json.Unmarshal([]byte(v), &s) != nil {
			return v
		}
		return s
	}
	var list []string
	for rest := strings.TrimSpace(v[1:]); rest != "" && rest[0] != ']'; {
		var item string
		item, rest = cutJSON(rest)
		list = append(list, jsonText(item))
		rest = strings.TrimSpace(rest)
		if rest != "" && rest[0] == ',' {
			rest = strings.TrimSpace(rest[1:])
		}
	}
	return strings.Join(list, "\n")
}
