package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	redlockd "github.com/redlockd/redlockd/client/go"
)

// observer notes what an observer reports.
type observer struct {
	cancel context.CancelFunc
	ended  chan struct{}

	mutex  sync.Mutex
	states []redlockd.KeyState
	from   int // what was found, and all before it, is not found again
	wrong  error
}

func (o *observer) follow(ctx context.Context, client *redlockd.Client, key string) {
	defer close(o.ended)
	highest := uint64(0)
	for state, err := range client.Observe(ctx, key) {
		if ctx.Err() != nil {
			return
		}
		o.mutex.Lock()
		switch last := len(o.states) - 1; {
		case err != nil:
			o.wrong = err
		case last >= 0 && repeats(state, o.states[last]):
			o.wrong = fmt.Errorf("it repeats %+v", state)
		case state.State == redlockd.StateHeld && state.FencingToken < highest:
			o.wrong = fmt.Errorf("the fencing token %d comes after %d", state.FencingToken, highest)
		}
		highest = max(highest, state.FencingToken)
		o.states = append(o.states, state)
		o.mutex.Unlock()
	}
}

func repeats(a, b redlockd.KeyState) bool {
	return a.State == b.State && a.Holders == b.Holders && a.FencingToken == b.FencingToken && a.Value == b.Value && a.Owner == b.Owner
}

// find looks for a state that was reported and not found before.
func (o *observer) find(s step) (found bool, wrong error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	for i := o.from; i < len(o.states); i++ {
		each := o.states[i]
		if each.State.String() == s.State && (s.Value == nil || *s.Value == each.Value) && (s.Owner == "" || s.Owner == each.Owner) {
			o.from = i + 1
			return true, o.wrong
		}
	}
	return false, o.wrong
}

func (r *runner) observe(s step) error {
	switch s.Do {
	case "observe":
		client, err := r.open()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(context.Background())
		o := &observer{cancel: cancel, ended: make(chan struct{})}
		r.observers[s.As] = o
		go o.follow(ctx, client, r.key(s))
		return nil
	case "sees":
		for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
			found, wrong := r.observers[s.Observer].find(s)
			if found || wrong != nil {
				return wrong
			}
			if time.Since(begun) > s.within() {
				return fmt.Errorf("%s is not seen", s.State)
			}
		}
	default:
		o := r.observers[s.Observer]
		o.cancel()
		if err := happens(o.ended, s); err != nil {
			return err
		}
		return o.wrong
	}
}

// elect carries out campaign and leads.
func (r *runner) elect(s step) error {
	client, err := r.open()
	if err != nil {
		return err
	}
	election := client.Election(r.key(s))
	if s.Do == "campaign" {
		ctx, cancel := s.wait(context.Background())
		defer cancel()
		lock, err := election.Campaign(ctx, s.value(), options(s, nil))
		if err == nil {
			r.keepLock(s.As, lock)
		}
		return err
	}
	leader, err := election.Leader(context.Background())
	switch {
	case err != nil:
		return err
	case s.Value == nil && leader.State != redlockd.StateVacant, s.Value != nil && (leader.State != redlockd.StateHeld || leader.Value != *s.Value):
		return fmt.Errorf("the leader is %+v", leader)
	}
	return nil
}
