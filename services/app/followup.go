package app

import (
	"context"

	"candor/services/followup"
)

// addFollowup adds the service that keeps the timetable.
func (a *App) addFollowup(context.Context) error {
	cfg := a.cfg.Followup
	// In a rehearsal much calendar passes between two looks, which makes nothing late.
	cfg.Grace = max(cfg.Grace, a.clock.Work(4*cfg.LookEvery))
	a.group.Add("followup", followup.New(cfg, followup.Deps{Bus: a.bus, Incidents: a.incidents, Texts: a.texts, Now: a.clock.Now, Log: a.log}))
	return nil
}
