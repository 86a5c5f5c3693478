// Runs ../../conformance/scenarios.json.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	redlockd "github.com/redlockd/redlockd/client/go"
)

type step struct {
	Do, Key, As, Fails, Lock, Waiter, Command string
	TTL, Within, Time                         float64
	Wait                                      *float64
	Is                                        bool
	Locks                                     []string
}

type waiter struct {
	cancel context.CancelFunc
	queued chan struct{}
	lock   chan *redlockd.Lock
	err    chan error
}

type runner struct {
	prefix  string
	client  *redlockd.Client
	locks   map[string]*redlockd.Lock
	waiters map[string]*waiter
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (r *runner) ask(ctx context.Context, s step, onQueued func(int)) (*redlockd.Lock, error) {
	if r.client == nil {
		client, err := redlockd.New(strings.Split(os.Getenv("ENDPOINTS"), ","), redlockd.Options{})
		if err != nil {
			return nil, err
		}
		r.client = client
	}
	key := s.Key
	if key != "" && !strings.Contains(key, ":") {
		key = r.prefix + key
	}
	options := redlockd.AcquireOptions{TTL: seconds(s.TTL), OnQueued: onQueued}
	if s.Wait != nil && *s.Wait == 0 {
		options.Try = true
	} else if s.Wait != nil {
		limited, cancel := context.WithTimeout(ctx, seconds(*s.Wait))
		defer cancel()
		ctx = limited
	}
	return r.client.Acquire(ctx, key, options)
}

func expect(s step, err error) error {
	if err != nil && redlockd.ReasonOf(err) == "" {
		return err
	}
	if reason := redlockd.ReasonOf(err); reason != s.Fails {
		return fmt.Errorf("%v: %q, not %q", s.Do, reason, s.Fails)
	}
	return nil
}

func (r *runner) run(s step) error {
	ctx := context.Background()
	switch s.Do {
	case "acquire":
		lock, err := r.ask(ctx, s, nil)
		r.locks[s.As] = lock
		return expect(s, err)
	case "begin":
		w := &waiter{queued: make(chan struct{}, 100), lock: make(chan *redlockd.Lock, 1), err: make(chan error, 1)}
		ctx, w.cancel = context.WithCancel(ctx)
		r.waiters[s.As] = w
		go func() {
			lock, err := r.ask(ctx, s, func(int) {
				select {
				case w.queued <- struct{}{}:
				default:
				}
			})
			if err != nil {
				w.err <- err
			} else {
				w.lock <- lock
			}
		}()
	case "queued":
		select {
		case <-r.waiters[s.Waiter].queued:
		case <-time.After(10 * time.Second):
			return fmt.Errorf("%s is not queued", s.Waiter)
		}
	case "await":
		select {
		case r.locks[s.Waiter] = <-r.waiters[s.Waiter].lock:
		case err := <-r.waiters[s.Waiter].err:
			return err
		}
	case "give_up":
		r.waiters[s.Waiter].cancel()
		if err := <-r.waiters[s.Waiter].err; redlockd.ReasonOf(err) != redlockd.Canceled {
			return fmt.Errorf("given up: %w", err)
		}
	case "release":
		return expect(s, r.locks[s.Lock].Release(ctx))
	case "extend":
		return r.locks[s.Lock].Extend(ctx, seconds(s.TTL))
	case "held":
		if lock := r.locks[s.Lock]; lock.Held() != s.Is {
			return fmt.Errorf("held is %v: %v", lock.Held(), lock.Err())
		}
	case "lost":
		if lost := r.locks[s.Lock].Err() != nil; lost != s.Is {
			return fmt.Errorf("lost is %v", lost)
		}
	case "await_lost":
		inside, cancel := r.locks[s.Lock].WithContext(ctx)
		defer cancel()
		select {
		case <-inside.Done():
		case <-time.After(seconds(s.Within)):
			return fmt.Errorf("the loss is not signalled")
		}
	case "fences_grow":
		for i := 1; i < len(s.Locks); i++ {
			if r.locks[s.Locks[i]].FencingToken() <= r.locks[s.Locks[i-1]].FencingToken() {
				return fmt.Errorf("fences do not grow")
			}
		}
	case "shell":
		command := exec.Command("sh", "-c", s.Command)
		command.Env = append(os.Environ(), "PREFIX="+r.prefix)
		return command.Run()
	case "sleep":
		time.Sleep(seconds(s.Time))
	case "close":
		r.close()
	default:
		return fmt.Errorf("unknown step %q", s.Do)
	}
	return nil
}

func (r *runner) close() {
	if r.client != nil {
		r.client.Close()
	}
	r.client = nil
}

func main() {
	text, err := os.ReadFile(os.Getenv("SCENARIOS"))
	if err != nil {
		panic(err)
	}
	var file struct {
		Scenarios []struct {
			Name  string
			Steps []step
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		panic(err)
	}
	failed := false
	for number, scenario := range file.Scenarios {
		r := &runner{prefix: fmt.Sprintf("%sgo/%d/", os.Getenv("PREFIX"), number),
			locks: map[string]*redlockd.Lock{}, waiters: map[string]*waiter{}}
		verdict := "ok      " + scenario.Name
		for i, s := range scenario.Steps {
			if err := r.run(s); err != nil {
				failed = true
				verdict = fmt.Sprintf("FAILED  %s: step %d: %v", scenario.Name, i+1, err)
				break
			}
		}
		r.close()
		fmt.Println(verdict)
	}
	if failed {
		os.Exit(1)
	}
}
