package app

import (
	"context"

	"candor/services/followup"
)

// addFollowup adds the service that keeps the timetable.
func (a *App) addFollowup(context.Context) error {
	a.group.Add("followup", followup.New(a.cfg.Followup, followup.Deps{Bus: a.bus, Incidents: a.incidents, Texts: a.texts, Clock: a.clock, Log: a.log}))
	return nil
}
