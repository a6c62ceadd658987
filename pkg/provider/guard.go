package provider

import (
	"net"
	"time"
)

// Guard is a connection of another protocol than HTTP. What is written while it carries a Call belongs to that Call, and is
// refused once its time is over, as on the connections of a Transport.
type Guard struct{ *conn }

// NewGuard guards c.
func NewGuard(c net.Conn) Guard { return Guard{&conn{Conn: c}} }

// Carry says whose the next bytes are; nil when they are nobody's, such as a handshake's.
func (g Guard) Carry(c *Call) { g.call.Store(c) }

// NewGuardedCall begins what a Guard will carry and may not write after sendBefore, by both clocks of now. A protocol that
// commits a message by its last bytes carries two: one for all that can still be taken back, and one for the commit, whose
// Failure tells what became of the message.
func NewGuardedCall(sendBefore time.Time, now func() time.Time) *Call {
	return (&Transport{now: now}).NewCall(sendBefore)
}

// Late says why nothing of the Call may be written any more; nil while it may.
func (c *Call) Late() error {
	_, err := timeLeft(c.t.now(), c.sendBefore)
	return err
}
