package twilio

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	openapi "github.com/twilio/twilio-go/rest/api/v2010"

	"candor/pkg/pii"
	"candor/pkg/provider"
)

const (
	pageSize = 50
	maxPages = 100
)

// FindSMS lists what was sent to a number since a moment, newest first.
//
// Twilio is asked by number alone: its dates are whole days or not yet set, and it keeps nothing else of ours to filter by.
func (s *Sender) FindSMS(ctx context.Context, to pii.Phone, since time.Time) ([]provider.Found, error) {
	since = since.Truncate(time.Second)
	number, size := to.Reveal(), pageSize
	params := &openapi.ListMessageParams{To: &number, PageSize: &size}
	var (
		found        []provider.Found
		token, index string
	)
	for range maxPages {
		c := s.newCall(ctx, time.Time{})
		page, err := c.api().PageMessage(params, token, index)
		if c.failed {
			return nil, fmt.Errorf("list messages: %w", &provider.Error{Outcome: c.outcome})
		}
		if err != nil {
			// The decoder's error may quote the answer.
			return nil, fmt.Errorf("list messages: %w", &provider.Error{Outcome: provider.Outcome{Reason: "bad_json"}})
		}
		older := 0
		for i := range page.Messages {
			f, err := foundIn(&page.Messages[i])
			if err != nil {
				return nil, fmt.Errorf("list messages: %w", err)
			}
			if f.Created.Before(since) {
				older++
				continue
			}
			found = append(found, f)
		}
		if page.NextPageUri == nil || *page.NextPageUri == "" || len(page.Messages) > 0 && older == len(page.Messages) {
			slices.SortStableFunc(found, func(a, b provider.Found) int { return b.Created.Compare(a.Created) })
			return found, nil
		}
		next, err := url.Parse(*page.NextPageUri)
		if err != nil || next.Query().Get("PageToken") == "" && next.Query().Get("Page") == "" {
			return nil, fmt.Errorf("list messages: %w", &provider.Error{Outcome: provider.Outcome{Reason: "bad_next_page"}})
		}
		token, index = next.Query().Get("PageToken"), next.Query().Get("Page")
	}
	// Half a list would call a message unsent that is on a later page.
	return nil, fmt.Errorf("list messages: more than %d since %s", maxPages*pageSize, since.UTC().Format(time.RFC3339))
}

func foundIn(m *openapi.ApiV2010Message) (provider.Found, error) {
	incomplete := &provider.Error{Outcome: provider.Outcome{Reason: "incomplete_message"}}
	if m.Sid == nil || m.DateCreated == nil {
		return provider.Found{}, incomplete
	}
	created, err := time.Parse(time.RFC1123Z, *m.DateCreated)
	if err != nil {
		return provider.Found{}, incomplete
	}
	f := provider.Found{ID: *m.Sid, Created: created}
	if m.Body != nil {
		f.Body = *m.Body
	}
	if m.Status != nil {
		f.Status = *m.Status
	}
	return f, nil
}
