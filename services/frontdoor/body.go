package frontdoor

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// What a request's whole body may take: the server bounds each single read by stallTime, not their number. Providers send a
// text's few kilobytes at once, and hundreds of events in a moment.
const (
	textTime  = 3 * time.Second
	mailTime  = 6 * time.Second
	stallTime = 2 * time.Second
)

var (
	errTooLarge = errors.New("body is too large")
	errTooSlow  = errors.New("body takes too long")
	errNoRoom   = errors.New("no memory for more of the body")
)

// readBody reads a body of at most limit bytes within a time, if the road has room for it.
func (v *visit) readBody(w http.ResponseWriter, r *http.Request, limit int64, within time.Duration) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errTooLarge
	}
	body := http.MaxBytesReader(w, r.Body, limit)
	room := firstPiece // what is announced need not come
	if r.ContentLength >= 0 {
		room = int(min(r.ContentLength+1, firstPiece))
	}
	b, end := make([]byte, 0, room), v.now().Add(within)
	for {
		if n := cap(b); len(b) == n {
			if !v.grow(n) {
				return nil, errNoRoom
			}
			b = append(make([]byte, 0, 2*n), b...)
		}
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		var large *http.MaxBytesError
		switch {
		case errors.Is(err, io.EOF):
			return b, nil
		case errors.As(err, &large):
			return nil, errTooLarge
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, errTooSlow
		case err != nil:
			return nil, err
		case v.now().After(end):
			return nil, errTooSlow
		}
	}
}

func bodyVerdict(err error) verdict {
	switch {
	case errors.Is(err, errTooLarge):
		return tooLarge
	case errors.Is(err, errTooSlow):
		return tooSlow
	case errors.Is(err, errNoRoom):
		return crowded
	}
	return malformed
}

// maxFields bounds what sorting a form costs; Twilio sends about twenty.
const maxFields = 256

var errForm = errors.New("not a form")

// field is one parameter of a form.
type field struct{ key, value string }

// form is the parameters in the order in which Twilio signs them: by key, those of the same key as they came.
type form []field

// parseForm reads URL encoding. Unlike net/url it takes a semicolon for what it is.
func parseForm(body string) (form, error) {
	var f form
	for body != "" {
		var part string
		part, body, _ = strings.Cut(body, "&")
		if part == "" {
			continue
		}
		if len(f) == maxFields {
			return nil, errForm
		}
		key, value, _ := strings.Cut(part, "=")
		key, err := url.QueryUnescape(key)
		if err != nil {
			return nil, errForm
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, errForm
		}
		if f == nil {
			f = make(form, 0, 24)
		}
		f = append(f, field{key, value})
	}
	slices.SortStableFunc(f, func(a, b field) int { return strings.Compare(a.key, b.key) })
	return f, nil
}

// repeats says whether a key comes more than once.
func (f form) repeats() bool {
	for i := 1; i < len(f); i++ {
		if f[i].key == f[i-1].key {
			return true
		}
	}
	return false
}

// get returns the value of a key, empty if it is not there. ok is false if it is there with several values: which of them is
// signed is not the same in all of Twilio's libraries.
func (f form) get(key string) (value string, ok bool) {
	i, found := slices.BinarySearchFunc(f, key, func(x field, key string) int { return strings.Compare(x.key, key) })
	if !found {
		return "", true
	}
	value = f[i].value
	for i++; i < len(f) && f[i].key == key; i++ {
		if f[i].value != value {
			return "", false
		}
	}
	return value, true
}

// read fills each string from the key it stands at; false if one of them is ambiguous.
func (f form) read(into map[string]*string) bool {
	for key, s := range into {
		value, ok := f.get(key)
		if !ok {
			return false
		}
		*s = value
	}
	return true
}
