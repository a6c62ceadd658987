package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrUnknownOutcome means that the message may or may not be stored: read before doing anything else.
	ErrUnknownOutcome = errors.New("outcome unknown: the broker did not answer, the message may be stored")
	// ErrUnavailable means that the broker could not be reached and that nothing was stored.
	ErrUnavailable = errors.New("broker not reachable, nothing was stored")
	// ErrBatchRefused means that nothing of a batch was stored; what it wraps says why.
	ErrBatchRefused = errors.New("batch refused, nothing was stored")
	// ErrExists means that a write-once subject, or a new key, is already there.
	ErrExists = errors.New("already there, and written once")
	// ErrConflict means that a key has another revision than expected.
	ErrConflict = errors.New("changed by somebody else")
	// ErrNotFound means that there is no such message, key, stream or consumer.
	ErrNotFound = errors.New("not found")
	// ErrNoSpace means that the broker has no room left.
	ErrNoSpace = errors.New("broker has no space left: free or enlarge its disk")
	// ErrClosed means that the committer or connection has ended and nothing was stored.
	ErrClosed = errors.New("closed, nothing was stored")
)

// WrongSequenceError says that somebody else wrote to a subject first (or is doing so: LastKnown is false).
type WrongSequenceError struct {
	Subject   string // empty if a batch was refused and it is not clear by which of its subjects
	Last      uint64 // the sequence found instead
	LastKnown bool
}

func (e *WrongSequenceError) Error() string {
	what := e.Subject
	if what == "" {
		what = "a subject of the batch"
	}
	if !e.LastKnown {
		return what + " is being written by somebody else"
	}
	return what + " has another last sequence: " + strconv.FormatUint(e.Last, 10)
}

// Codes of the JetStream API that nats.go has no name for.
const (
	codeInsufficientMemory  = 10023
	codeInsufficientStorage = 10047
	codeWrongLastSequence   = 10071
	codeStoreFailed         = 10077
	codeWrongLastConstant   = 10164
	codeMsgNotFound         = 10037
	codeStreamNotFound      = 10059
	codeConsumerNotFound    = 10014
)

// refusal turns the broker's definite no into our errors.
func refusal(subject string, e *jetstream.APIError) error {
	switch e.ErrorCode {
	case codeWrongLastSequence:
		_, n, ok := strings.Cut(e.Description, ": ")
		last, err := strconv.ParseUint(n, 10, 64)
		return &WrongSequenceError{Subject: subject, Last: last, LastKnown: ok && err == nil}
	case codeWrongLastConstant:
		return &WrongSequenceError{Subject: subject}
	case codeInsufficientMemory, codeInsufficientStorage:
		return fmt.Errorf("%w (%s)", ErrNoSpace, e.Description)
	case codeStoreFailed:
		switch {
		case strings.Contains(e.Description, "per subject"):
			return fmt.Errorf("%s: %w", subject, ErrExists)
		case strings.Contains(e.Description, "maximum bytes"), strings.Contains(e.Description, "maximum messages"):
			return fmt.Errorf("%w (%s)", ErrNoSpace, e.Description)
		}
	case codeMsgNotFound, codeStreamNotFound, codeConsumerNotFound:
		return fmt.Errorf("%w (%s)", ErrNotFound, e.Description)
	}
	return e
}

// notSent says that an error of the client proves that nothing left it, or that nobody was there to take it.
func notSent(err error) bool {
	for _, e := range []error{
		nats.ErrReconnectBufExceeded, nats.ErrConnectionClosed, nats.ErrConnectionDraining, nats.ErrNoResponders,
		nats.ErrInvalidConnection,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// lost classifies an error of a request that changes something.
func lost(err error) error {
	switch {
	case notSent(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject):
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
}

// apiError turns errors of the JetStream API's calls into ours.
func apiError(err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &api):
		return refusal("", api)
	case notSent(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted), errors.Is(err, jetstream.ErrBucketNotFound):
		return fmt.Errorf("%w (%w)", ErrNotFound, err)
	case errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return err
}
