package redlockd

import (
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

// While locks are held, the driver reads the clock at least this often, because timers do not run during a suspend.
const mostSleep = time.Second

// driver runs the state machine: it passes in the time and what arrives, and carries out the requests of the machine.
// Nothing blocks under the mutex.
type driver struct {
	transport dialer
	clock     func() core.Instant
	log       logger

	wake chan struct{} // wakes the timer goroutine for an earlier time
	over chan struct{} // closed when the machine has finished

	begun time.Time

	mutex   sync.Mutex
	machine *core.Machine
	stream  *stream // the current stream
	wakeAt  core.Instant
	closing bool
	behind  time.Duration // of Go's clock, which stops during a suspend, behind the client's
	absent  bool          // no Session has become ready since this was logged
	events  []func()      // to be logged once the mutex is free
}

func newDriver(transport dialer, grace time.Duration, clock func() core.Instant, log logger) *driver {
	d := &driver{transport: transport, clock: clock, log: log, wake: make(chan struct{}, 1), over: make(chan struct{}), begun: time.Now()}
	d.behind = time.Duration(clock())
	d.mutex.Lock()
	d.machine = core.New(core.Config{Endpoints: transport.count(), Grace: grace}, d, clock())
	d.mutex.Unlock()
	go d.keepTime()
	return d
}

// do calls the machine under the mutex.
func (d *driver) do(action func(m *core.Machine, now core.Instant)) {
	for _, event := range d.doLocked(action) {
		event()
	}
}

func (d *driver) doLocked(action func(m *core.Machine, now core.Instant)) (events []func()) {
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
	events, d.events = d.events, nil
	return events
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

func (d *driver) note(level slog.Level, event string, fields ...any) {
	d.events = append(d.events, func() { d.log.log(level, event, fields...) })
}

func (d *driver) lockLost(loss *Error) {
	if !d.closing {
		d.note(slog.LevelWarn, "a lock was lost", "key", core.Key(loss.Key).String(), "reason", loss.Reason, "error", loss.Message)
	}
}

// The following methods implement core.Host.

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

// A difference of the clocks that is longer than it takes to read both.
const leastSuspend = 100 * time.Millisecond

func (d *driver) Suspended() bool {
	behind := time.Duration(d.clock()) - time.Since(d.begun)
	suspended := behind-d.behind > leastSuspend
	if suspended {
		d.behind = behind
	}
	return suspended
}

func (d *driver) OnReady(endpoint int) {
	d.absent = false
	d.note(slog.LevelInfo, "connected", "endpoint", d.transport.name(endpoint))
}

// OnEnded logs that a Session has ended or could not be opened. Only the first of several failures in a row is a warning.
func (d *driver) OnEnded(endpoint int, wasReady bool, failure *core.Failure) {
	level, event := slog.LevelWarn, "the connection has ended; the client moves to the next endpoint"
	if !wasReady {
		event = "an endpoint cannot be used"
		if d.absent {
			level = slog.LevelDebug
		}
		d.absent = true
	}
	d.note(level, event, "endpoint", d.transport.name(endpoint), "reason", failure.Reason, "error", failure.Message)
}

func (d *driver) NewToken() string { return newToken() }

func newToken() string {
	var bits [16]byte
	if _, err := rand.Read(bits[:]); err != nil {
		panic("redlockd: the operating system returned no random bytes: " + err.Error())
	}
	return core.MadeToken + hex.EncodeToString(bits[:])
}

func (d *driver) Jitter() float64 { return mathrand.Float64() }
