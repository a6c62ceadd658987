package token

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Role is what a token's owner is to Candor.
type Role string

// The roles.
const (
	Admin     Role = "admin"     // installs, gives out tokens; has no say in what is sent
	Commander Role = "commander" // runs an incident
	Approver  Role = "approver"  // the second person
	Viewer    Role = "viewer"
	Dialer    Role = "dialer"  // a contact centre's machine
	Machine   Role = "machine" // a playbook of a security tool: may draft, and watch
)

// Action is something a token can be asked for.
type Action string

// The actions.
const (
	Declare    Action = "declare"
	Approve    Action = "approve"
	Reject     Action = "reject"
	Pause      Action = "pause"
	Resume     Action = "resume"
	Abort      Action = "abort"
	Shred      Action = "shred"
	Token      Action = "token"
	View       Action = "view"
	Upload     Action = "upload"
	Settle     Action = "settle"
	DeadLetter Action = "deadletter"
	Call       Action = "call"     // take tasks from the call queue, and report on them
	Queue      Action = "queue"    // look at the call queue and the script, and have customers called
	Amend      Action = "amend"    // draft what is added to an incident, which somebody else approves
	Find       Action = "find"     // a customer, whose name stands in the texts
	Suppress   Action = "suppress" // keep the list of opt-outs
)

// permissions says who may do what. Stopping needs one person, so whoever has a say may stop; sending needs two, so nobody has both
// halves by one role, and the admin has neither.
var permissions = map[Role][]Action{
	Admin:     {Token, View, Find, Queue, Suppress, Shred, DeadLetter},
	Commander: {Declare, Upload, Reject, Pause, Resume, Amend, Abort, Shred, Settle, Suppress, DeadLetter, Find, Queue, View},
	Approver:  {Approve, Reject, Pause, Abort, Find, Queue, View},
	Viewer:    {View},
	Dialer:    {Call, Queue, Find},
	Machine:   {Declare, Upload, View},
}

// Allows reports whether the role may do that.
func Allows(role Role, action Action) bool {
	return slices.Contains(permissions[role], action)
}

// ParseRoles reads the names of roles and answers them sorted, each once.
func ParseRoles(names []string) ([]Role, error) {
	var roles []Role
	for _, name := range names {
		if _, ok := permissions[Role(name)]; !ok {
			known := slices.Sorted(maps.Keys(permissions))
			return nil, fmt.Errorf("no role %q: take one or more of %s", name, strings.Trim(fmt.Sprint(known), "[]"))
		}
		roles = append(roles, Role(name))
	}
	if len(roles) == 0 {
		return nil, errors.New("a token without a role can do nothing: name one")
	}
	slices.Sort(roles)
	return slices.Compact(roles), nil
}
