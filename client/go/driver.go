package redlockd

import (
	"crypto/rand"
	"encoding/hex"
	mathrand "math/rand"
	"sync"
	"time"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

// While locks are held, the driver reads the clock at least this often, because timers do not run during a suspend.
const mostSleep = time.Second

// driver runs the state machine: it passes in the time and what arrives, and carries out the requests of the machine.
// Nothing blocks under the mutex.
type driver struct {
	endpoints []string
	clock     func() core.Instant
	dial      dialer

	wake chan struct{} // wakes the timer goroutine for an earlier time
	over chan struct{} // closed when the machine has finished

	mutex   sync.Mutex
	machine *core.Machine
	stream  *stream // the current stream
	wakeAt  core.Instant
	closing bool
}

func newDriver(endpoints []string, grace time.Duration, clock func() core.Instant, dial dialer) *driver {
	d := &driver{endpoints: endpoints, clock: clock, dial: dial, wake: make(chan struct{}, 1), over: make(chan struct{})}
	d.mutex.Lock()
	d.machine = core.New(core.Config{Endpoints: len(endpoints), Grace: grace}, d, clock())
	d.mutex.Unlock()
	go d.keepTime()
	return d
}

// do calls the machine under the mutex.
func (d *driver) do(action func(m *core.Machine, now core.Instant)) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	now := d.clock()
	action(d.machine, now)
	if d.stream != nil && d.machine.HasMessage(d.stream.number) {
		notify(d.stream.wake)
	}
	if d.nextWake(now) < d.wakeAt {
		notify(d.wake)
	}
}

func (d *driver) nextWake(now core.Instant) core.Instant {
	at, soon := d.machine.NextWake(), now.Add(mostSleep)
	if d.machine.Holding() && at > soon {
		return soon
	}
	return at
}

func (d *driver) keepTime() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-d.wake:
			if !timer.Stop() {
				select {
				case <-timer.C:
				default:
				}
			}
		case <-d.over:
			return
		}
		var sleep time.Duration
		d.do(func(m *core.Machine, now core.Instant) {
			m.Tick(now)
			d.wakeAt = d.nextWake(now)
			sleep = d.wakeAt.Sub(now)
		})
		timer.Reset(sleep)
	}
}

func notify(channel chan struct{}) {
	select {
	case channel <- struct{}{}:
	default:
	}
}

// Open, Cancel, NewToken and Jitter implement core.Host.

func (d *driver) Open(session uint64, endpoint int) {
	d.stream = newStream(session)
	go d.stream.run(d, endpoint)
}

func (d *driver) Cancel(session uint64) {
	if d.stream != nil && d.stream.number == session {
		d.stream.cancel()
		d.stream = nil
	}
}

func (d *driver) NewToken() string {
	var bits [16]byte
	if _, err := rand.Read(bits[:]); err != nil {
		panic("redlockd: the operating system returned no random bytes: " + err.Error())
	}
	return "rl-" + hex.EncodeToString(bits[:])
}

func (d *driver) Jitter() float64 { return mathrand.Float64() }
