package natsd

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	stuckReports = 3                // appends without an answer before we believe it
	stuckMemory  = 2 * time.Minute  // without a further report a stream is taken to be well
	restartPause = 30 * time.Second // between two restarts in place
)

// stuckStream is a stream on which appends got no answer.
type stuckStream struct {
	last    uint64 // its last sequence at the first report
	reports int
	latest  time.Time
}

// SpaceLow says that the disk is nearly full: start nothing new, record what is under way.
func (s *Server) SpaceLow() bool { return s.spaceLow.Load() }

// ReportStuck says that an append to a stream got no answer although the connection is up. A disk that was full leaves a
// stream so for ever; if several appends hang, the stream has not grown and there is space, the server is restarted in place.
func (s *Server) ReportStuck(stream string) {
	last, ok := s.lastSeq(stream)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stuck[stream]
	if st == nil || st.last != last {
		st = &stuckStream{last: last}
		s.stuck[stream] = st
	}
	st.reports++
	st.latest = s.now()
}

func (s *Server) lastSeq(stream string) (uint64, bool) {
	streams, err := s.streams()
	if err != nil {
		return 0, false
	}
	for _, st := range streams {
		if st.Name == stream {
			return st.State.LastSeq, true
		}
	}
	return 0, false
}

// watch writes the witness, measures the disk and heals stuck streams, once a second.
func (s *Server) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var (
		sample    []server.StreamDetail
		restarted time.Time
	)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.checkSpace()
		// The sample of the round before: an entry counts in memory a moment before it is on the disk, and the witness
		// must not remember what a crash may take back.
		if sample != nil {
			if err := s.witness.write(sample, s.Damage()); err != nil {
				s.log.Error().Err(err).Msg("witness file cannot be written: free or repair its disk")
			}
		}
		sample, _ = s.streams()
		if stream := s.hopeless(sample); stream != "" && s.now().Sub(restarted) > restartPause {
			if s.SpaceLow() {
				s.log.Error().Str("stream", stream).Str("folder", s.cfg.Dir).Msg("stream does not answer, the disk is full: free some space")
				continue
			}
			restarted = s.now()
			sample = nil
			s.log.Warn().Str("stream", stream).Msg("stream does not answer although there is space: restarting nats in place")
			if err := s.restart(ctx); err != nil {
				s.log.Error().Err(err).Msg("nats did not come up again: trying again")
			}
		}
	}
}

// hopeless names a stream that the server has given up, or that got enough reports and has not grown since the first.
func (s *Server) hopeless(sample []server.StreamDetail) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inner == nil {
		return "all of them" // the last restart failed
	}
	if stream := s.said.broken.Load(); stream != nil {
		return *stream
	}
	for _, st := range sample {
		r := s.stuck[st.Name]
		if r == nil {
			continue
		}
		if st.State.LastSeq != r.last || s.now().Sub(r.latest) > stuckMemory {
			delete(s.stuck, st.Name)
			continue
		}
		if r.reports >= stuckReports {
			return st.Name
		}
	}
	return ""
}

// restart replaces the inner server; connections come back by themselves.
func (s *Server) restart(ctx context.Context) error {
	s.shutdown()
	s.mu.Lock()
	clear(s.stuck)
	s.mu.Unlock()
	return s.start(ctx)
}

func (s *Server) checkSpace() {
	var st syscall.Statfs_t
	if err := syscall.Statfs(s.cfg.Dir, &st); err != nil {
		s.log.Error().Err(err).Str("folder", s.cfg.Dir).Msg("cannot see how much space the disk has")
		return
	}
	free := st.Bavail * uint64(st.Bsize)
	mark := s.cfg.FreeSpaceMark
	if mark == 0 {
		mark = max(1<<30, st.Blocks*uint64(st.Bsize)/20)
	}
	low := free < mark
	if s.spaceLow.Swap(low) == low {
		return
	}
	if low {
		s.log.Error().Str("folder", s.cfg.Dir).Str("free", megabytes(free)).Str("needed", megabytes(mark)).
			Msg("disk nearly full, no new notices: free or enlarge the disk of this folder")
	} else {
		s.log.Info().Str("folder", s.cfg.Dir).Str("free", megabytes(free)).Msg("disk has space again")
	}
}

func megabytes(n uint64) string { return fmt.Sprintf("%d MB", n>>20) }
