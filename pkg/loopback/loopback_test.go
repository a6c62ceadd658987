package loopback

import "testing"

func TestIs(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.3.2.1": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "localhost.example.com": false, "10.0.0.1": false, "192.168.0.1": false, "::ffff:10.0.0.1": false, "0.0.0.0": false, "hooks.example.com": false,
	} {
		if Is(host) != want {
			t.Errorf("Is(%q) = %v, want %v", host, !want, want)
		}
	}
}
