package core

import (
	"container/heap"
	"math/rand"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// The daemons of a simulated world, which share one store. Their time is the true time, in nanoseconds.

type event struct {
	at     time.Duration
	number int
	action func()
}

type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].number < q[j].number
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

type simulation struct {
	random *rand.Rand
	now    time.Duration
	queue  queue
	number int
	faults bool
	store  map[Key]*entry // by place
}

func (s *simulation) at(t time.Duration, action func()) {
	s.number++
	heap.Push(&s.queue, event{t, s.number, action})
}

func (s *simulation) after(d time.Duration, action func()) { s.at(s.now+d, action) }

func (s *simulation) upTo(d time.Duration) time.Duration {
	return time.Duration(s.random.Int63n(int64(d)))
}

var simulatedKeys = []Key{"k0", "k1", Together("k2", "k3"), Semaphore("k4", 2)}

// places returns the keys of the entries: one for each slot of a semaphore.
func places(key Key) []Key {
	if !key.Semaphore() {
		return []Key{key}
	}
	var all []Key
	for slot := 1; slot <= key.MaxHolders(); slot++ {
		all = append(all, key.InSlot(slot))
	}
	return all
}

const sharedBy = "\x00" // in the place of a share, between the key and the token

// sharePlace returns the key of the entry of one share.
func sharePlace(id leaseID) Key { return id.key + sharedBy + Key(id.token) }

// exclusive returns the key of the exclusive lock, which has an entry also while the key is shared.
func exclusive(key Key) Key {
	name, _, _ := strings.Cut(strings.TrimPrefix(string(key), share), sharedBy)
	return Key(name)
}

// shared reports whether anybody shares the key.
func (s *simulation) shared(key Key) bool {
	for place, e := range s.store {
		if place.Shared() && exclusive(place) == key && e.token != "" && e.until > s.now {
			return true
		}
	}
	return false
}

// raise records what the next exclusive hold must exceed.
func (s *simulation) raise(place Key) {
	e, all := s.entry(place), s.entry(exclusive(place))
	all.fence, all.sequence = maxUint(all.fence, e.fence), maxUint(all.sequence, e.sequence)
}

// downgrade makes a share of the exclusive lock that the token holds, but not of a later one than the client means.
func (s *simulation) downgrade(id leaseID, from uint64) {
	if e := s.entry(exclusive(id.key)); from != 0 && e.token == id.token && e.first <= from {
		*s.entry(sharePlace(id)) = *e
		e.token = ""
	}
}

// place returns the key of the entry that the token holds; "": none.
func (s *simulation) place(id leaseID) Key {
	if place := sharePlace(id); id.key.Shared() && s.entry(place).token != "" {
		return place
	}
	for _, place := range places(id.key) {
		if s.entry(place).token == id.token {
			return place
		}
	}
	return ""
}

// named returns the key of the entry that a message with a slot names. Slot 0 is the one that the token has.
func (s *simulation) named(id leaseID, slot int32) Key {
	if place := s.place(id); slot == 0 && place != "" {
		return place
	}
	return id.key.InSlot(int(slot))
}

// free returns the key of an entry that the token can get; "": none.
func (s *simulation) free(id leaseID) Key {
	switch {
	case id.key.Shared() && s.entry(exclusive(id.key)).token == "":
		return sharePlace(id)
	case id.key.Shared() || s.shared(id.key):
		return ""
	}
	all := places(id.key)
	first := s.random.Intn(len(all))
	for i := range all {
		if place := all[(first+i)%len(all)]; s.entry(place).token == "" {
			return place
		}
	}
	return ""
}

// entry is the state of a key, of a slot of a semaphore, or of one share, on the nodes.
type entry struct {
	token    string
	until    time.Duration
	taker    *peer
	first    uint64 // the fence when it was acquired
	fence    uint64
	sequence uint64
}

func (s *simulation) entry(place Key) *entry {
	e := s.store[place]
	if e == nil {
		e = &entry{}
		s.store[place] = e
	}
	if e.until <= s.now {
		e.token = ""
	}
	return e
}

type daemon struct {
	s        *simulation
	down     bool
	draining bool
	rate     float64 // of the daemon's clock
	peers    []*peer // in the order in which they connected, so that a seed always gives the same schedule
}

// peer is the daemon's side of a Session.
type peer struct {
	d        *daemon
	client   *client
	session  uint64
	grace    time.Duration
	ended    bool // the daemon no longer serves it
	broken   bool // no further message arrives on either side
	heard    time.Duration
	held     map[leaseID]time.Duration // with its TTL
	waiting  map[uint64]*pb.AcquireRequest
	toDaemon time.Duration // when the last message arrives at the daemon; keeps messages in order
	toClient time.Duration
	stalled  time.Duration // no message passes before this
}

// send delivers a message in order, with the delays of the world.
func (p *peer) send(last *time.Duration, action func()) {
	s := p.d.s
	arrives := s.now + 100*time.Microsecond + s.upTo(2*time.Millisecond)
	if s.faults && s.random.Intn(20) == 0 {
		arrives += s.upTo(400 * time.Millisecond)
	}
	*last = maxOf(*last, maxOf(arrives, p.stalled))
	s.at(*last, func() {
		if !p.broken {
			action()
		}
	})
}

func maxOf(a, b time.Duration) time.Duration {
	if a > b {
		return a
	}
	return b
}

func (p *peer) reply(message *pb.SessionResponse) {
	message.Clock = durationpb.New(time.Duration(p.d.rate * float64(p.d.s.now)))
	p.send(&p.toClient, func() { p.client.receive(p.session, message) })
}

func (p *peer) result(r *pb.SessionResult) {
	p.reply(&pb.SessionResponse{Results: []*pb.SessionResult{r}})
}

func (p *peer) fail(id uint64, reason string) {
	p.result(&pb.SessionResult{Id: id, Status: &pb.OperationStatus{Reason: reason}})
}

func (p *peer) lease(place Key) *pb.Lease {
	e := p.d.s.entry(place)
	left := e.until - p.d.s.now
	key, _, _ := strings.Cut(string(place), sharedBy)
	return lease(Key(key), e.token, e.fence, left-left/50-2*time.Millisecond)
}

func (p *peer) read(m *pb.SessionRequest) {
	if p.ended || p.d.down {
		return
	}
	p.heard = p.d.s.now
	if m.DisconnectGrace != nil {
		p.grace = m.DisconnectGrace.AsDuration()
		p.watchSilence()
	}
	for _, o := range m.Operations {
		o := o
		// Operations on keys take a while, in any order.
		took := p.d.s.upTo(3 * time.Millisecond)
		switch {
		case o.GetPing() != nil:
			p.result(ok(o))
		case o.GetCancel() != nil:
			if p.waiting[o.Id] != nil {
				delete(p.waiting, o.Id)
				p.fail(o.Id, Cancelled)
			}
		case o.GetAcquire() != nil:
			p.waiting[o.Id] = o.GetAcquire()
			p.d.s.after(took, func() { p.attempt(o.Id) })
		case o.GetGiveUp() != nil:
			p.giveUp(o, took)
		default:
			p.d.s.after(took, func() { p.carryOut(o) })
		}
	}
}

func (p *peer) watchSilence() {
	p.d.s.at(p.heard+p.grace, func() {
		switch {
		case p.ended || p.d.down:
		case p.d.s.now < p.heard+p.grace:
			p.watchSilence()
		default:
			p.releaseAll()
			p.end()
		}
	})
}

func (p *peer) releaseAll() {
	for id := range p.held {
		if place := p.d.s.place(id); place != "" && p.d.s.entry(place).taker == p {
			p.d.s.entry(place).token = ""
		}
	}
}

// end ends the peer. Its locks expire.
func (p *peer) end() {
	p.ended = true
	p.held, p.waiting = nil, nil
	p.d.peers = slices.DeleteFunc(p.d.peers, func(other *peer) bool { return other == p })
	p.send(&p.toClient, func() { p.client.broken(p.session) })
}

func (p *peer) attempt(id uint64) {
	a := p.waiting[id]
	if a == nil || p.d.down {
		return
	}
	hold := leaseID{KeyOf(a), a.GetToken()}
	has, free := p.d.s.place(hold), p.d.s.free(hold)
	switch {
	case p.d.draining:
		p.fail(id, Draining)
	case has == "" && free != "":
		all := p.d.s.entry(exclusive(free))
		fence := maxUint(all.fence, all.sequence) + 1
		*p.d.s.entry(free) = entry{token: hold.token, until: p.d.s.now + a.Ttl.AsDuration(), taker: p, first: fence, fence: fence, sequence: fence}
		p.d.s.raise(free)
		p.hold(hold, a.Ttl.AsDuration())
		p.result(&pb.SessionResult{Id: id, Lease: p.lease(free)})
	case has != "" && a.ExtendIfHeld: // no stream's end releases it
		e := p.d.s.entry(has)
		e.taker, e.sequence = nil, e.sequence+1
		p.d.s.raise(has)
		e.until = maxOf(e.until, p.d.s.now+a.Ttl.AsDuration())
		p.hold(hold, a.Ttl.AsDuration())
		p.result(&pb.SessionResult{Id: id, Lease: p.lease(has)})
	case a.Retry != nil:
		p.fail(id, "LOCK_ALREADY_HELD")
	case p.d.s.faults && p.d.s.random.Intn(50) == 0:
		p.fail(id, Overloaded)
	default:
		p.d.s.after(5*time.Millisecond+p.d.s.upTo(20*time.Millisecond), func() { p.attempt(id) })
		return
	}
	delete(p.waiting, id)
}

func maxUint(a, b uint64) uint64 {
	if a > b {
		return a
	}
	return b
}

func (p *peer) carryOut(o *pb.SessionOperation) {
	if p.ended || p.d.down {
		return
	}
	s := p.d.s
	if s.faults && s.random.Intn(60) == 0 && o.GetClose() == nil {
		p.fail(o.Id, Overloaded)
		return
	}
	switch {
	case o.GetRelease() != nil:
		// The nodes know how the token holds the key.
		kind := slices.IndexFunc(simulatedKeys, func(key Key) bool { return key.String() == namesOf(o.GetRelease()).String() })
		id := leaseID{simulatedKeys[kind], o.GetRelease().Token}
		shared := leaseID{Shared(id.key), id.token}
		delete(p.held, id)
		delete(p.held, shared)
		place := s.place(id)
		if place == "" {
			place = s.place(shared)
		}
		if place == "" {
			p.fail(o.Id, LockNotHeld)
			return
		}
		s.entry(place).token = ""
		p.result(ok(o))
	case o.GetAdopt() != nil:
		a := o.GetAdopt()
		s.downgrade(leaseID{KeyOf(a), a.Token}, a.DowngradeFrom)
		place := s.named(leaseID{KeyOf(a), a.Token}, a.Slot)
		e := s.entry(place)
		if e.token != a.Token || a.GetSequence() <= e.sequence {
			p.fail(o.Id, LockNotHeld)
			return
		}
		e.until, e.taker, e.sequence = maxOf(e.until, s.now+a.Ttl.AsDuration()), p, a.GetSequence()
		if s.random.Intn(4) == 0 {
			e.fence++
		}
		s.raise(place)
		p.hold(leaseID{KeyOf(a), a.Token}, a.Ttl.AsDuration())
		p.result(&pb.SessionResult{Id: o.Id, Lease: p.lease(place)})
	case o.GetExtend() != nil:
		x := o.GetExtend()
		s.downgrade(leaseID{KeyOf(x), x.Token}, x.DowngradeFrom)
		place := s.named(leaseID{KeyOf(x), x.Token}, x.Slot)
		e := s.entry(place)
		if e.token != x.Token {
			p.fail(o.Id, LockNotHeld)
			return
		}
		e.until = maxOf(e.until, s.now+x.Ttl.AsDuration())
		p.result(&pb.SessionResult{Id: o.Id, Lease: p.lease(place)})
	case o.GetClose() != nil:
		p.releaseAll()
		p.result(ok(o))
		p.end()
	}
}

// giveUp names the lock at once, so that it spares a later one of the same token however long it takes.
func (p *peer) giveUp(o *pb.SessionOperation, took time.Duration) {
	s := p.d.s
	if s.faults && s.random.Intn(60) == 0 {
		p.fail(o.Id, Overloaded)
		return
	}
	id := leaseID{KeyOf(o.GetGiveUp()), o.GetGiveUp().Token}
	delete(p.held, id)
	place := s.place(id)
	named := *s.entry(place)
	s.after(took, func() {
		e := s.entry(place)
		switch {
		case p.ended || p.d.down:
		case e.token != id.token || e.taker != p || e.sequence != named.sequence:
			p.fail(o.Id, LockNotHeld)
		default:
			e.token = ""
			p.result(ok(o))
		}
	})
}

// hold keeps a lock alive.
func (p *peer) hold(id leaseID, ttl time.Duration) {
	_, already := p.held[id]
	p.held[id] = ttl
	if !already {
		p.d.s.after(ttl/2, func() { p.extend(id) })
	}
}

func (p *peer) extend(id leaseID) {
	ttl, held := p.held[id]
	if !held || p.d.down {
		return
	}
	place := p.d.s.place(id)
	if place == "" {
		delete(p.held, id)
		p.reply(&pb.SessionResponse{Events: []*pb.WatchResponse{
			eventOf(pb.EventType_EVENT_TYPE_LOST, lease(id.key, id.token, 0, 0))}})
		return
	}
	e := p.d.s.entry(place)
	e.until = maxOf(e.until, p.d.s.now+ttl)
	p.reply(&pb.SessionResponse{Events: []*pb.WatchResponse{eventOf(extended, p.lease(place))}})
	p.d.s.after(ttl/2, func() { p.extend(id) })
}

func (d *daemon) drain() {
	d.draining = true
	for _, p := range d.peers {
		p.reply(&pb.SessionResponse{Events: []*pb.WatchResponse{{Type: pb.EventType_EVENT_TYPE_DRAINING}}})
	}
	d.s.after(300*time.Millisecond, d.kill)
}

func (d *daemon) kill() {
	if d.down {
		return
	}
	d.down = true
	for _, p := range slices.Clone(d.peers) { // end removes it
		p.end()
	}
	d.s.after(d.s.upTo(2*time.Second), func() { d.down, d.draining = false, false })
}
