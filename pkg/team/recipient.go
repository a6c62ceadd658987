package team

import (
	"slices"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

// Media by which the team is told.
const (
	MediumSMS   = "sms"
	MediumEmail = "email"
	MediumHook  = "hook"
)

// Recipient is one address of the team, by its mark.
type Recipient struct {
	Medium string
	// Member is its place among the playbook's members, or hooks.
	Member uint32
	// Role of the member, or name of the hook.
	Role   string
	Mark   string
	Secret string // mark of the hook's secret; empty without one
	toldOf []string
}

// Recipients lists the addresses of a team, each once. Two members who share one are told on it of what either is told of.
func Recipients(t *playbook.Team) (all []Recipient) {
	add := func(r Recipient) {
		if r.Mark == "" {
			return
		}
		i := slices.IndexFunc(all, func(o Recipient) bool { return o.Mark == r.Mark && o.Medium == r.Medium })
		switch {
		case i < 0:
			all = append(all, r)
		case len(all[i].toldOf) == 0 || len(r.toldOf) == 0:
			all[i].toldOf = nil
		default:
			all[i].toldOf = append(slices.Clip(all[i].toldOf), r.toldOf...)
		}
	}
	if t == nil {
		return nil
	}
	for i, m := range t.Members {
		add(Recipient{Medium: MediumSMS, Member: uint32(i), Role: m.Role, Mark: m.SMS, toldOf: m.ToldOf})
		add(Recipient{Medium: MediumEmail, Member: uint32(i), Role: m.Role, Mark: m.Email, toldOf: m.ToldOf})
	}
	for i, h := range t.Hooks {
		add(Recipient{Medium: MediumHook, Member: uint32(i), Role: h.Name, Mark: h.URL, Secret: h.Secret, toldOf: h.ToldOf})
	}
	return all
}

// ToldOf says whether the address gets alerts of a kind; one that names none gets all.
func (r *Recipient) ToldOf(k candorv1.AlertKind) bool {
	return len(r.toldOf) == 0 || slices.Contains(r.toldOf, candorv1.Word(k))
}
