package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	redlockd "github.com/redlockd/redlockd/client/go"
)

// watch notes what the callback of a Watch hears.
type watch struct {
	*redlockd.Watch
	mutex sync.Mutex
	heard []heard
}

type heard struct {
	key, what, reason string
	found             bool
}

func (w *watch) note(event redlockd.WatchEvent) {
	names := map[redlockd.WatchKind]string{redlockd.WatchExtended: "EXTENDED", redlockd.WatchExtendFailed: "EXTEND_FAILED",
		redlockd.WatchLost: "LOST", redlockd.WatchInterrupted: "", redlockd.WatchEnded: ""}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.heard = append(w.heard, heard{key: event.Key, what: names[event.Kind], reason: redlockd.ReasonOf(event.Err)})
}

// find looks for something that was heard and not found before.
func (w *watch) find(what, key string) bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for i, each := range w.heard {
		if !each.found && (each.what == what || each.reason == what) && (key == "" || key == each.key) {
			w.heard[i].found = true
			return true
		}
	}
	return false
}

func (r *runner) watch(s step) error {
	switch s.Do {
	case "watch":
		client, err := r.open()
		if err != nil {
			return err
		}
		w := &watch{}
		var items []redlockd.WatchItem
		for _, each := range s.Items {
			items = append(items, redlockd.WatchItem{Key: r.prefixed(each.target), Token: r.token(each.Of, each.Token),
				TTL: seconds(each.TTL), Interval: seconds(each.Interval)})
		}
		w.Watch, err = client.Watch(context.Background(), items, redlockd.WatchOptions{StopAfterLoss: !s.KeepWatching,
			OnEvent: func(event redlockd.WatchEvent) {
				w.note(event)
				if s.Raises {
					panic("raised by the scenario")
				}
			}})
		if err == nil {
			r.watches[s.As] = w
		}
		return err
	case "watch_hears":
		key := r.prefixed(s.target)
		for begun := time.Now(); !r.watches[s.Watch].find(s.What, key); time.Sleep(5 * time.Millisecond) {
			if time.Since(begun) > s.within() {
				return fmt.Errorf("%s is not heard", s.What)
			}
		}
		return nil
	default:
		w := r.watches[s.Watch]
		w.Close()
		if err := happens(w.Done(), s); err != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond)
		w.mutex.Lock()
		defer w.mutex.Unlock()
		ends := 0
		for _, each := range w.heard {
			if each.reason == redlockd.Canceled {
				ends++
			}
		}
		if ends != 1 || w.heard[len(w.heard)-1].reason != redlockd.Canceled {
			return errors.New("the cancellation is not the last and only one")
		}
		return nil
	}
}
