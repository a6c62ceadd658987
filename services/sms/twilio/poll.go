package twilio

import (
	"context"
	"errors"
	"fmt"
	"time"

	openapi "github.com/twilio/twilio-go/rest/api/v2010"

	"candor/pkg/provider"
)

var errNotASID = errors.New("not the sid of a message")

// PollSMS fetches one message by its sid and returns its status, such as delivered, and its error code, 0 without one. A
// message that is not Twilio's, or not any more, is an error: it says nothing about what became of it.
func (s *Sender) PollSMS(ctx context.Context, id string) (status string, code int, err error) {
	// It becomes part of a path.
	if !isSID(id, "SM") && !isSID(id, "MM") {
		return "", 0, fmt.Errorf("fetch message: %w", errNotASID)
	}
	c := s.newCall(ctx, time.Time{})
	c.sid = id
	m, err := c.api().FetchMessage(id, &openapi.FetchMessageParams{})
	if c.failed {
		return "", 0, fmt.Errorf("fetch message: %w", &provider.Error{Outcome: c.outcome})
	}
	if err != nil || m.Sid == nil || *m.Sid != id || m.Status == nil {
		// The decoder's error may quote the answer.
		return "", 0, fmt.Errorf("fetch message: %w", &provider.Error{Outcome: provider.Outcome{Reason: "bad_json"}})
	}
	if m.ErrorCode != nil {
		code = *m.ErrorCode
	}
	return *m.Status, code, nil
}
