package smtp

import (
	"context"
	"net"
)

// Enhanced is for its fuzz test.
var Enhanced = enhanced

// SetDial has the Sender dial in another way.
func SetDial(s *Sender, dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	s.dial = dial
}
