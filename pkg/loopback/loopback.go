// Package loopback tells this machine from others by the name of a host.
//
// In: a host as an address or URL names it.   Out: whether what is sent there stays here.   Crash: nothing to lose, it is a
// pure function.
package loopback

import "net/netip"

// Is says that a host is this machine. A name that only a resolver knows is not taken for it.
func Is(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
