package core

import (
	"container/heap"
	"fmt"
	"math/rand"
	"testing"
	"time"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// client is a machine with its driver, its clock, and users that acquire, downgrade and release.
type client struct {
	s         *simulation
	t         *testing.T
	name      string
	m         *Machine
	daemons   []*daemon
	rate      float64
	peer      *peer
	tokens    int
	suspended time.Duration // the client does not run before this
	wakes     time.Duration // when the next tick is planned
	leases    map[*Lease]struct{}
	last      map[Key]hold // by place; shared by all clients
	grants    int
	shares    int // from downgrades
	losses    int
	stop      bool
}

// hold is the hold of a key, or of a slot of a semaphore, with the highest fence.
type hold struct {
	token string
	fence uint64
}

func (c *client) clock() Instant { return Instant(time.Hour + time.Duration(c.rate*float64(c.s.now))) }

// run calls the machine as a driver does, delayed if the client is suspended.
func (c *client) run(action func(now Instant)) {
	if c.s.now < c.suspended {
		c.s.at(c.suspended, func() { c.run(action) })
		return
	}
	action(c.clock())
	c.write()
	c.plan()
}

func (c *client) write() {
	p := c.peer
	for p != nil && c.m.HasMessage(p.session) {
		message := c.m.TakeMessage(c.clock(), p.session)
		if message == nil {
			return
		}
		p.send(&p.toDaemon, func() { p.read(message) })
		p = c.peer
	}
}

func (c *client) plan() {
	next := c.m.NextWake()
	if next == never {
		return
	}
	at := maxOf(c.s.now+1, time.Duration(float64(next-Instant(time.Hour))/c.rate)+1)
	if c.wakes > c.s.now && c.wakes <= at {
		return
	}
	c.wakes = at
	c.s.at(at, func() { c.run(func(now Instant) { c.m.Tick(now) }) })
}

func (c *client) Open(session uint64, endpoint int) {
	d := c.daemons[endpoint]
	p := &peer{d: d, client: c, session: session, held: map[leaseID]time.Duration{}, waiting: map[uint64]*pb.AcquireRequest{}}
	c.peer = p
	if d.down {
		p.ended = true
		p.send(&p.toClient, func() { c.broken(session) })
		return
	}
	d.peers = append(d.peers, p)
	if d.draining {
		p.reply(&pb.SessionResponse{Events: []*pb.WatchResponse{{Type: pb.EventType_EVENT_TYPE_DRAINING}}})
	}
}

func (c *client) Cancel(session uint64) { // the daemon only notices that nothing arrives
	if c.peer != nil && c.peer.session == session {
		c.peer = nil
	}
}

func (c *client) NewToken() string {
	c.tokens++
	return fmt.Sprintf("rl-%s-%d", c.name, c.tokens)
}

func (c *client) ownToken() string { return "own-" + c.NewToken() }

func (c *client) OnReady(int) {}

func (c *client) Suspended() bool { return c.s.random.Intn(100) == 0 }

func (c *client) OnEnded(int, bool, *Failure) {}

func (c *client) Jitter() float64 { return c.s.random.Float64() }

func (c *client) receive(session uint64, message *pb.SessionResponse) {
	c.run(func(now Instant) { c.m.OnMessage(now, session, message) })
}

func (c *client) broken(session uint64) {
	c.run(func(now Instant) { c.m.OnBroken(now, session, &Failure{Reason: Unreachable, Message: "broken"}) })
}

// use simulates a user who repeatedly acquires, holds and releases a lock. own: a token of the user, which it uses again
// unless a release or a downgrade with it has failed.
func (c *client) use(own string) {
	if c.stop {
		return
	}
	again := func() { c.s.after(c.s.upTo(200*time.Millisecond), func() { c.use(own) }) }
	key := simulatedKeys[c.s.random.Intn(len(simulatedKeys))]
	if !key.Semaphore() && c.s.random.Intn(3) == 0 {
		key = Shared(key)
	}
	what := Acquire{Key: key, TTL: 300*time.Millisecond + c.s.upTo(3*time.Second), Try: c.s.random.Intn(4) == 0}
	what.Margin = DefaultMargin(what.TTL, time.Second)
	if c.s.random.Intn(2) == 0 {
		what.Token = own
		what.ExtendIfHeld = c.s.random.Intn(2) == 0
		what.Sequence = uint64(c.s.now / time.Microsecond)
		if key.Semaphore() && what.ExtendIfHeld {
			what.Slot = c.s.random.Intn(key.MaxHolders() + 1)
		}
	}
	renew := func(lease *Lease) {
		if lease.Token == own {
			own = c.ownToken()
		}
	}
	release := func(now Instant, lease *Lease) {
		c.m.Release(now, lease, 0, func(failure *Failure) {
			delete(c.leases, lease)
			if failure != nil && !failure.Lost {
				renew(lease)
			}
			again()
		})
	}
	done := false
	what.Queued = func(int) {}
	what.Lost = func(*Failure) { c.losses++ }
	downgrade := func(now Instant, lease *Lease) {
		over, what := false, what
		end := func(failed bool) {
			over = true
			delete(c.leases, lease)
			if failed {
				renew(lease)
			}
		}
		what.Done = func(share *Lease, failure *Failure) {
			end(share == nil && failure.Reason != LockNotHeld)
			if share == nil {
				again()
				return
			}
			c.shares++
			c.leases[share] = struct{}{}
			c.s.after(c.s.upTo(500*time.Millisecond), func() {
				c.run(func(now Instant) { release(now, share) })
			})
		}
		a := c.m.Downgrade(now, lease, what)
		if c.s.random.Intn(8) == 0 {
			c.s.after(c.s.upTo(20*time.Millisecond), func() {
				c.run(func(now Instant) {
					if !over {
						c.m.GiveUp(now, a)
						end(true)
						again()
					}
				})
			})
		}
	}
	what.Done = func(lease *Lease, _ *Failure) {
		done = true
		if lease == nil {
			again()
			return
		}
		c.leases[lease] = struct{}{}
		c.grants++
		if lease.Validity(c.clock()) > 0 { // unless the answer was delayed for too long
			place := exclusive(placeOf(lease))
			last := c.last[place]
			// Shares need not be ordered among themselves.
			if !key.Shared() && (lease.fence < last.fence || lease.fence == last.fence && lease.Token != last.token) {
				c.t.Errorf("%s: fence %d of %s after %d", c.name, lease.fence, key, last.fence)
			}
			if lease.fence > last.fence {
				c.last[place] = hold{lease.Token, lease.fence}
			}
		}
		c.s.after(c.s.upTo(500*time.Millisecond), func() {
			c.run(func(now Instant) {
				if c.s.random.Intn(4) == 0 {
					c.m.Extend(now, lease, lease.ttl, nil, func(*Failure) {})
				}
			})
		})
		c.s.after(c.s.upTo(time.Second), func() {
			c.run(func(now Instant) {
				if !key.Shared() && !key.Semaphore() && c.s.random.Intn(3) == 0 {
					downgrade(now, lease)
				} else {
					release(now, lease)
				}
			})
		})
	}
	c.run(func(now Instant) {
		a := c.m.Acquire(now, what)
		if c.s.random.Intn(3) == 0 {
			c.s.after(c.s.upTo(400*time.Millisecond), func() {
				c.run(func(now Instant) {
					switch {
					case done:
					case c.s.random.Intn(2) == 0:
						c.m.TimeOut(now, a)
					default:
						c.m.GiveUp(now, a)
						again()
					}
				})
			})
		}
	})
}

// disturb injects one fault and schedules the next.
func disturb(s *simulation, clients []*client, daemons []*daemon) {
	if !s.faults {
		return
	}
	c, d := clients[s.random.Intn(len(clients))], daemons[s.random.Intn(len(daemons))]
	switch p := c.peer; s.random.Intn(7) {
	case 0:
		if !d.down && !d.draining {
			d.drain()
		}
	case 1:
		d.kill()
	case 2:
		c.suspended = s.now + s.upTo(3*time.Second)
	case 3: // messages are lost, and neither side notices
		if p != nil {
			p.broken = true
		}
	case 4: // reset at the client
		if p != nil {
			c.broken(p.session)
		}
	case 5: // a stall: no message is lost
		if p != nil {
			p.stalled = s.now + s.upTo(3*time.Second)
		}
	case 6: // reset at the daemon
		if p != nil && !p.ended {
			p.end()
		}
	}
	s.after(s.upTo(800*time.Millisecond), func() { disturb(s, clients, daemons) })
}

func placeOf(l *Lease) Key { return l.Key.InSlot(l.Slot) }

// trusting returns the clients that trust each place now, once for each lock.
func trusting(clients []*client) map[Key][]string {
	names := map[Key][]string{}
	for _, c := range clients {
		for lease := range c.leases {
			if lease.Validity(c.clock()) > 0 {
				names[placeOf(lease)] = append(names[placeOf(lease)], c.name)
			}
		}
	}
	return names
}

func simulate(t *testing.T, seed int64, faults bool) (grants, shares, losses int) {
	s := &simulation{random: rand.New(rand.NewSource(seed)), faults: faults, store: map[Key]*entry{}}
	rate := func() float64 { return 0.996 + 0.008*s.random.Float64() }
	var daemons []*daemon
	for i := 0; i < 2; i++ {
		daemons = append(daemons, &daemon{s: s, rate: rate()})
	}
	last := map[Key]hold{}
	var clients []*client
	for i := 0; i < 3; i++ {
		c := &client{s: s, t: t, name: fmt.Sprint("client", i), daemons: daemons, rate: rate(), leases: map[*Lease]struct{}{}, last: last}
		c.m = New(Config{Endpoints: 2, Grace: time.Second}, c, c.clock())
		c.run(func(Instant) {})
		clients = append(clients, c)
		for j := 0; j < 3; j++ {
			c.use(c.ownToken())
		}
	}
	s.after(time.Second, func() { disturb(s, clients, daemons) })
	calm, end := 20*time.Second, 32*time.Second
	for len(s.queue) > 0 && s.now < end && !t.Failed() {
		next := heap.Pop(&s.queue).(event)
		s.now = next.at
		if s.now > calm && !clients[0].stop {
			s.faults = false
			for _, c := range clients {
				c.stop = true
			}
		}
		trusted := trusting(clients)
		for place, names := range trusted { // before anything can react to the time that has passed
			if readers := trusted[Shared(place)]; !place.Shared() && len(names)+len(readers) > 1 {
				t.Fatalf("seed %d: %q is trusted by %v and shared by %v at %v", seed, string(place), names, readers, s.now)
			}
		}
		next.action()
	}
	for place := range s.store {
		if e := s.entry(place); e.token != "" {
			t.Errorf("seed %d: %q stays locked by %s", seed, string(place), e.token)
		}
	}
	for _, c := range clients {
		if open := len(c.m.acquires) + len(c.m.releases) + len(c.m.leases) + len(c.m.extends) + len(c.m.callers) + len(c.m.leaving); open > 0 {
			t.Errorf("seed %d: %s has %d operations left", seed, c.name, open)
		}
		grants += c.grants
		shares += c.shares
		losses += c.losses
	}
	return grants, shares, losses
}

// Whatever fails, nobody else trusts a key that a client trusts exclusively, or a slot of a semaphore, at the same time, and
// none stays locked.
func TestSimulationWithFaults(t *testing.T) {
	grants, shares, losses, schedules := 0, 0, 0, int64(120)
	if testing.Short() {
		schedules = 10
	}
	for seed := int64(0); seed < schedules && !t.Failed(); seed++ {
		g, s, l := simulate(t, seed, true)
		grants, shares, losses = grants+g, shares+s, losses+l
	}
	if grants < 20*int(schedules) || shares < 3*int(schedules) {
		t.Errorf("%d locks, of which %d were downgraded, in %d schedules", grants, shares, schedules)
	}
	t.Logf("%d locks, of which %d were downgraded, and %d were lost", grants, shares, losses)
}

func TestSimulationWithoutFaultsLosesNothing(t *testing.T) {
	for seed := int64(0); seed < 10 && !t.Failed(); seed++ {
		if grants, _, losses := simulate(t, seed, false); losses > 0 || grants < 100 {
			t.Errorf("seed %d: %d locks, %d of them lost", seed, grants, losses)
		}
	}
}
