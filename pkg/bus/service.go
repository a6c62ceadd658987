package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Service is a NATS micro service: other programs find it by asking $SRV, and see its subjects there.
type Service struct {
	Name        string
	Version     string // x.y.z
	Description string
	Queue       string        // the group whose members share the requests
	InHand      int           // requests at a time; more are turned away with CodeUnavailable. 1 if not set
	Within      time.Duration // a request is answered; 20 s if not set
}

// Endpoint is one subject of a Service.
type Endpoint struct {
	Name, Subject string
	Metadata      map[string]string
	// InHand is how many of its requests may be in hand, beside those of the others; 0 if it shares with them.
	InHand int
	Handle func(context.Context, Request) (Reply, error)
}

// service is a Service that is being served. The client's own has one goroutine per subject, and a table of all services of
// the program; ours has neither, and says the same about itself.
type service struct {
	Service
	b       *Bus
	id      string
	started time.Time
	free    chan struct{}
	wg      sync.WaitGroup

	mu    sync.Mutex
	stats []*micro.EndpointStats
}

// ServeService answers requests on the endpoints until ctx ends, each in a goroutine of its own, and returns when those in
// hand are answered.
func (b *Bus) ServeService(ctx context.Context, spec Service, endpoints []Endpoint) error {
	if spec.Within <= 0 {
		spec.Within = defaultGrace
	}
	s := &service{Service: spec, b: b, id: rand.Text(), started: time.Now().UTC(), free: make(chan struct{}, max(spec.InHand, 1))}
	var (
		subs  []*nats.Subscription
		loops sync.WaitGroup
		hctx  = context.WithoutCancel(ctx)
		done  = make(chan struct{})
	)
	end := func() { b.unsubscribe(hctx, subs...) }
	for _, e := range endpoints {
		msgs := make(chan *nats.Msg, 1024)
		sub, err := b.nc.ChanQueueSubscribe(e.Subject, spec.Queue, msgs)
		if err != nil {
			end()
			close(done)
			loops.Wait()
			return fmt.Errorf("serve %s: %w", e.Subject, err)
		}
		subs = append(subs, sub)
		stats := &micro.EndpointStats{Name: e.Name, Subject: e.Subject, QueueGroup: spec.Queue}
		s.stats = append(s.stats, stats)
		free := s.free
		if e.InHand > 0 {
			free = make(chan struct{}, e.InHand)
		}
		loops.Go(func() { s.loop(hctx, done, msgs, e, stats, free) })
	}
	verbs, err := s.discover(endpoints)
	subs = append(subs, verbs...)
	if err == nil {
		<-ctx.Done()
	}
	end()
	close(done)
	loops.Wait()
	s.wg.Wait()
	return err
}

// loop hands out the requests of one endpoint. What came before the end is answered: nobody else has it.
func (s *service) loop(ctx context.Context, done <-chan struct{}, msgs <-chan *nats.Msg, e Endpoint, stats *micro.EndpointStats, free chan struct{}) {
	for {
		select {
		case m := <-msgs:
			s.take(ctx, m, e, stats, free)
		case <-done:
			for len(msgs) > 0 {
				s.take(ctx, <-msgs, e, stats, free)
			}
			return
		}
	}
}

func (s *service) take(ctx context.Context, m *nats.Msg, e Endpoint, stats *micro.EndpointStats, free chan struct{}) {
	select {
	case free <- struct{}{}:
	default:
		err := Errorf(CodeUnavailable, "%d requests are in hand, which is as many as may be: try again in a moment", cap(free))
		s.count(stats, 0, err)
		out := nats.NewMsg(m.Reply)
		out.Header = errorHeader(err)
		s.b.respond(out)
		return
	}
	s.wg.Go(func() {
		defer func() { <-free }()
		start := time.Now()
		err := s.b.answer(ctx, s.Within, m, e.Handle)
		s.count(stats, time.Since(start), err)
	})
}

func (s *service) count(stats *micro.EndpointStats, took time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats.NumRequests++
	stats.ProcessingTime += took
	stats.AverageProcessingTime = stats.ProcessingTime / time.Duration(stats.NumRequests)
	if err != nil {
		stats.NumErrors++
		stats.LastError = err.Error()
	}
}

// discover answers those who look for services.
func (s *service) discover(endpoints []Endpoint) (subs []*nats.Subscription, err error) {
	who := micro.ServiceIdentity{Name: s.Name, ID: s.id, Version: s.Version, Metadata: map[string]string{}}
	info := micro.Info{ServiceIdentity: who, Type: micro.InfoResponseType, Description: s.Description}
	for _, e := range endpoints {
		info.Endpoints = append(info.Endpoints, micro.EndpointInfo{Name: e.Name, Subject: e.Subject, QueueGroup: s.Queue, Metadata: e.Metadata})
	}
	for verb, answer := range map[micro.Verb]func() any{
		micro.PingVerb:  func() any { return micro.Ping{ServiceIdentity: who, Type: micro.PingResponseType} },
		micro.InfoVerb:  func() any { return info },
		micro.StatsVerb: func() any { return s.statistics(who) },
	} {
		for _, of := range [][2]string{{}, {s.Name}, {s.Name, s.id}} {
			subject, err := micro.ControlSubject(verb, of[0], of[1])
			if err != nil {
				return subs, fmt.Errorf("serve %s: %w", s.Name, err)
			}
			sub, err := s.b.nc.Subscribe(subject, func(m *nats.Msg) {
				data, err := json.Marshal(answer())
				if err == nil && m.Reply != "" {
					err = m.Respond(data)
				}
				if err != nil {
					s.b.log.Debug().Err(err).Str("subject", subject).Msg("answer not sent")
				}
			})
			if err != nil {
				return subs, fmt.Errorf("serve %s: %w", subject, err)
			}
			subs = append(subs, sub)
		}
	}
	return subs, nil
}

func (s *service) statistics(who micro.ServiceIdentity) micro.Stats {
	st := micro.Stats{ServiceIdentity: who, Type: micro.StatsResponseType, Started: s.started}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.stats {
		one := *e
		st.Endpoints = append(st.Endpoints, &one)
	}
	return st
}
