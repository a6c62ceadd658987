package dialer

import (
	"context"
	"errors"
	"time"

	candorv1 "candor/proto/candor/v1"
)

// Line is where the telephone goes: the one thing that whoever builds a dialer on this example replaces. Behind it are the
// telephone system and the agent's screen.
type Line interface {
	// Dial calls task.phone from task.caller_id, puts task.script before the agent, and returns when the agent has said how
	// the call ended. When ctx ends it hangs up and says how far the call had come. An error means that the number was not
	// dialled; ErrVanished means that nobody is left to say.
	//
	// It dials one number once. If that one was wrong, the next claim brings another one of the customer's, so that the queue
	// hears about each of them.
	Dial(ctx context.Context, task *candorv1.CallTask) (Result, error)
}

// Result is how a call ended.
type Result struct {
	// Disposition is a code of the playbook's table, such as notified or no_answer.
	Disposition string
	// CallBackAt is when the customer wants to be called again; only with callback and notified_callback.
	CallBackAt time.Time
	// Answered is zero if nobody picked up.
	Started, Answered, Ended time.Time
	// CallID is the telephone system's own name for the call.
	CallID string
}

var (
	// ErrNotDialled says that no telephone rang.
	ErrNotDialled = errors.New("the number was not dialled")
	// ErrVanished says that the agent's machine died in the middle of a call. Only drills return it: a machine that is really
	// dead says nothing.
	ErrVanished = errors.New("the agent's machine died in the middle of a call")
)
