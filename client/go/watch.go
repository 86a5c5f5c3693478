package redlockd

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/redlockd/redlockd/client/go/internal/core"
	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// WatchItem is a lock that a Watch keeps alive.
type WatchItem struct {
	Key      string        // if it names a slot of a semaphore (see Slot), the lock is lost while the token has another one
	Token    string        `json:"-"`
	TTL      time.Duration // that each extension sets, at least 10 ms; 0: 30 s
	Interval time.Duration // between extensions, at least 1 ms and less than TTL; 0: half of TTL
}

// Format implements fmt.Formatter, so that no verb shows the token, and all show the keys by name.
func (i WatchItem) Format(state fmt.State, verb rune) {
	type plain WatchItem
	i.Key, i.Token = core.Key(i.Key).String(), hide(i.Token)
	_, _ = fmt.Fprintf(state, fmt.FormatString(state, verb), plain(i))
}

// WatchKind says what happened to a Watch.
type WatchKind int

const (
	WatchExtended     WatchKind = iota + 1 // a lock was extended; Validity is set
	WatchExtendFailed                      // an extension failed; the daemon retries
	WatchLost                              // the lock must no longer be trusted
	WatchInterrupted                       // the stream failed; the watch continues at the next endpoint
	WatchEnded                             // always the last event, exactly once
)

// WatchEvent is what the callback of a Watch hears.
type WatchEvent struct {
	Kind     WatchKind
	Key      string        // as in the WatchItem; see Keys. "" for WatchInterrupted and WatchEnded
	Validity time.Duration // for WatchExtended: how long the lock can be trusted, from the arrival of the event
	Err      error         // why; nil for WatchExtended. For WatchLost, errors.Is finds ErrLockLost.
}

// Keys returns the keys of the lock, in byte order. Unlike Key, they can be shown; see Together.
func (e WatchEvent) Keys() []string { return core.Key(e.Key).Names() }

// Format implements fmt.Formatter, so that all verbs show the keys by name.
func (e WatchEvent) Format(state fmt.State, verb rune) {
	type plain WatchEvent
	e.Key = core.Key(e.Key).String()
	_, _ = fmt.Fprintf(state, fmt.FormatString(state, verb), plain(e))
}

// WatchOptions configures Client.Watch.
type WatchOptions struct {
	// OnEvent hears every event, one after the other, on a goroutine of the watch. A panic in it is logged, and the watch
	// goes on. nil: events are dropped.
	OnEvent func(WatchEvent)
	// StopAfterLoss ends the watch of a lock when it is lost or released. By default, a watch keeps trying to extend it.
	// It may therefore begin before its locks are acquired. A watch without locks is idle until it is closed.
	StopAfterLoss bool
}

// Watch keeps locks alive that this client does not hold, by their keys and tokens.
type Watch struct {
	client  *Client
	options WatchOptions
	items   []*pb.WatchItem
	keys    map[core.Key]core.Key // as in the WatchItem, by key without a slot; also of items that are lost
	ctx     context.Context
	cancel  context.CancelCauseFunc
	done    chan struct{}
}

// Watch starts to keep the locks of items alive, until ctx ends, the client is closed, or Watch.Close is called. It
// survives failures of daemons: it moves through the endpoints for as long as it is open.
//
// Only a Lock proves that a lock is still held: the events of a Watch count from their arrival, so a delay on the way is
// like a pause of the program.
func (c *Client) Watch(ctx context.Context, items []WatchItem, options WatchOptions) (*Watch, error) {
	w := &Watch{client: c, options: options, keys: map[core.Key]core.Key{}, done: make(chan struct{})}
	if err := w.add(items); err != nil {
		return nil, err
	}
	if !c.calls.enter(false) {
		return nil, closedError("")
	}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { w.cancel(closedError("")) })
	go func() {
		defer c.calls.leave()
		defer stop()
		w.run()
	}()
	return w, nil
}

// Close ends the watch. It does not wait for the last call of the callback: see Done. A second Close does nothing.
func (w *Watch) Close() { w.cancel(context.Canceled) }

// Done returns a channel that is closed after the last call of the callback.
func (w *Watch) Done() <-chan struct{} { return w.done }

func (w *Watch) add(items []WatchItem) error {
	if len(items) == 0 {
		return invalid("items", "none given")
	}
	named := map[core.Key]bool{}
	for _, item := range items {
		if item.TTL == 0 {
			item.TTL = defaultTTL
		}
		key := core.Key(item.Key)
		if err := checkKey(key); err != nil {
			return err
		}
		if err := checkToken(item.Token); err != nil {
			return err
		}
		if err := checkTTL(item.TTL); err != nil {
			return err
		}
		one, several := key.Fields()
		slot, _ := key.Slot()
		message := &pb.WatchItem{Key: one, Keys: several, Mode: key.Mode(), MaxHolders: int32(key.MaxHolders()), Slot: int32(slot),
			Token: item.Token, Ttl: durationpb.New(item.TTL)}
		if item.Interval != 0 {
			if item.Interval < time.Millisecond || item.Interval >= item.TTL {
				return invalid("interval", "must be at least 1ms and less than the TTL of %v, not %v", item.TTL, item.Interval)
			}
			message.Interval = durationpb.New(item.Interval)
		}
		names := core.Together(key.Names()...) // whatever the mode
		if named[names] {
			return invalid("items", "%q is there twice", key)
		}
		named[names] = true
		w.keys[key.WithoutSlot()] = key
		w.items = append(w.items, message)
	}
	return nil
}

func (w *Watch) run() {
	defer close(w.done)
	w.client.calls.follow(w.ctx, func(endpoint int) (more bool) {
		failure := w.stream(endpoint)
		if w.ctx.Err() != nil || len(w.items) == 0 {
			return false
		}
		w.tell(WatchEvent{Kind: WatchInterrupted, Err: &Error{Reason: failure.Reason, RetryAfter: failure.RetryAfter,
			Message: w.client.calls.transport.name(endpoint) + ": " + failure.Message}})
		return true
	})
	<-w.ctx.Done() // it is idle once its locks were lost
	end := (&Error{Reason: Canceled, Message: "the watch was cancelled"}).because(w.ctx)
	w.cancel(end)
	w.tell(WatchEvent{Kind: WatchEnded, Err: end})
}

// A daemon that reports nothing for 1.5 intervals and this time counts as silent.
const watchSilence = 500 * time.Millisecond

// A daemon reports on a new watch at once.
const firstWatchSilence = 2500 * time.Millisecond

// patience returns how long the next event may take.
func (w *Watch) patience() time.Duration {
	shortest := time.Duration(math.MaxInt64)
	for _, item := range w.items {
		interval := item.GetTtl().AsDuration() / 2
		if item.Interval != nil {
			interval = item.Interval.AsDuration()
		}
		shortest = min(shortest, interval)
	}
	if len(w.items) == 0 { // the daemon ends the stream
		return firstWatchSilence
	}
	return shortest + shortest/2 + watchSilence
}

// stream watches at one endpoint until the stream ends, the daemon shuts down or falls silent.
func (w *Watch) stream(endpoint int) *core.Failure {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	authorized, stub, failure := w.client.calls.open(ctx, endpoint)
	if failure != nil {
		return failure
	}
	stream, err := stub.Watch(authorized, &pb.WatchRequest{Items: w.items, KeepWatchingAfterLoss: !w.options.StopAfterLoss})
	if err != nil {
		return brokenBy(err)
	}
	patience := firstWatchSilence
	for {
		// Another daemon could no longer save a lock with a short TTL when the keepalive notices.
		silence := time.AfterFunc(patience, cancel)
		event, err := stream.Recv()
		silent := !silence.Stop()
		switch {
		case err != nil && silent && w.ctx.Err() == nil && len(w.items) > 0:
			return &core.Failure{Reason: core.Unreachable, Message: "the daemon fell silent"}
		case err == io.EOF && w.options.StopAfterLoss:
			w.items = nil
			return nil
		case err == io.EOF:
			return &core.Failure{Reason: core.LockNotHeld, Message: "the daemon ended the watch: the locks were released"}
		case err != nil && len(w.items) == 0: // the last lock was lost
			return nil
		case err != nil:
			return brokenBy(err)
		case event.GetType() == pb.EventType_EVENT_TYPE_DRAINING:
			return &core.Failure{Reason: core.Draining, Message: "the daemon is shutting down"}
		}
		w.onEvent(event)
		patience = w.patience()
	}
}

func (w *Watch) onEvent(event *pb.WatchResponse) {
	key := w.keys[core.KeyOf(event)]
	why := &Error{Reason: event.GetReason(), Key: string(key), Message: key.String() + ": " + event.GetMessage()}
	switch event.GetType() {
	case pb.EventType_EVENT_TYPE_EXTENDED:
		w.tell(WatchEvent{Kind: WatchExtended, Key: string(key), Validity: event.GetLease().GetValidity().AsDuration()})
	case pb.EventType_EVENT_TYPE_EXTEND_FAILED:
		w.tell(WatchEvent{Kind: WatchExtendFailed, Key: string(key), Err: why})
	case pb.EventType_EVENT_TYPE_LOST:
		why.lost = true
		if w.options.StopAfterLoss {
			w.drop(key)
		}
		w.tell(WatchEvent{Kind: WatchLost, Key: string(key), Err: why})
	}
}

func (w *Watch) drop(key core.Key) {
	kept := w.items[:0:0]
	for _, item := range w.items {
		if core.KeyOf(item) != key.WithoutSlot() {
			kept = append(kept, item)
		}
	}
	w.items = kept
}

func (w *Watch) tell(event WatchEvent) {
	defer func() { w.client.log.contain("WatchOptions.OnEvent", recover()) }()
	if w.options.OnEvent != nil {
		w.options.OnEvent(event)
	}
}
