package suppression

import "encoding/binary"

// follower is somebody who keeps what follows from the set.
type follower struct{ fn func(number uint64, in bool) }

// Follow has fn told of every opt-out that is added or taken back from now on, of all channels: what Number returns for its
// owner's number if it is one from calls. Those of one owner come in their order. What fn is told of, Has and Version know
// already; fn must be quick, and not ask the set. The set is followed until stop is called.
func (s *Set) Follow(fn func(number uint64, in bool)) (stop func()) {
	f := &follower{fn}
	s.followers.Lock()
	defer s.followers.Unlock()
	if s.followers.all == nil {
		s.followers.all = map[*follower]struct{}{}
	}
	s.followers.all[f] = struct{}{}
	return func() {
		s.followers.Lock()
		defer s.followers.Unlock()
		delete(s.followers.all, f)
	}
}

func (s *Set) tell(k [keyBytes]byte, in bool) {
	s.followers.Lock()
	defer s.followers.Unlock()
	for f := range s.followers.all {
		f.fn(binary.BigEndian.Uint64(k[:8]), in)
	}
}
