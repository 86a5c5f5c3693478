package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	redlockd "github.com/redlockd/redlockd/client/go"
)

type waiter struct {
	cancel context.CancelFunc
	queued chan struct{}
	ended  chan struct{}
	lock   *redlockd.Lock
	err    error
}

type runner struct {
	scenario scenario
	prefix   string

	mutex     sync.Mutex // for the steps of together
	client    *redlockd.Client
	locks     map[string]*redlockd.Lock
	leases    map[string]redlockd.Lease
	waiters   map[string]*waiter
	watches   map[string]*watch
	observers map[string]*observer
}

func newRunner(s scenario, prefix string) *runner {
	return &runner{scenario: s, prefix: prefix, locks: map[string]*redlockd.Lock{}, leases: map[string]redlockd.Lease{},
		waiters: map[string]*waiter{}, watches: map[string]*watch{}, observers: map[string]*observer{}}
}

func (r *runner) carryOut(s step) error {
	begun := time.Now()
	if why := s.inexpressible(); why != "" {
		if s.Fails != redlockd.InvalidArgument {
			return errors.New(why)
		}
		return nil
	}
	err := r.do(s)
	return s.check(err, time.Since(begun))
}

func (r *runner) open() (*redlockd.Client, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var err error
	if r.client == nil {
		r.client, err = redlockd.New(strings.Split(os.Getenv("ENDPOINTS"), ","),
			redlockd.Options{Grace: seconds(r.scenario.Grace), Owner: r.scenario.Owner})
	}
	return r.client, err
}

func (r *runner) close() {
	r.mutex.Lock()
	client := r.client
	r.client = nil
	r.mutex.Unlock()
	if client != nil {
		client.Close()
	}
}

func (r *runner) key(s step) string {
	if s.WholeKey != "" {
		return s.WholeKey
	}
	return r.prefixed(s.target)
}

// prefixed returns the key of the fields `key`, `keys`, `shared` and `max_holders`; "" if there is none.
func (r *runner) prefixed(t target) string {
	if t.Key != "" {
		t.Keys = []string{t.Key}
	}
	var names []string
	for _, name := range t.Keys {
		names = append(names, r.prefix+name)
	}
	key := redlockd.Together(names...)
	if t.Shared {
		key = redlockd.Shared(key)
	}
	if t.MaxHolders != 0 {
		key = redlockd.Semaphore(key, t.MaxHolders)
	}
	return key
}

// inSlot returns the key for a call by token. Of a semaphore, it names the slot of the lock or lease `of`. Other calls by
// token find the slot.
func (r *runner) inSlot(key string, t target) string {
	if t.MaxHolders == 0 || t.Of == "" {
		return key
	}
	return redlockd.Slot(key, t.MaxHolders, r.named(t.Of).Slot())
}

func (r *runner) keepLock(name string, lock *redlockd.Lock) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.locks[name] = lock
}

func (r *runner) lock(name string) *redlockd.Lock {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.locks[name]
}

func (r *runner) keepLease(name string, lease redlockd.Lease) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.leases[name] = lease
}

func (r *runner) token(of, token string) string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if lease, found := r.leases[of]; found {
		return lease.Token()
	}
	if lock, found := r.locks[of]; found {
		return lock.Token()
	}
	return token
}

func options(s step, onQueued func(int)) redlockd.AcquireOptions {
	return redlockd.AcquireOptions{TTL: seconds(s.TTL), Try: s.Wait != nil && *s.Wait == 0, Owner: s.Owner, Token: s.Token,
		Margin: seconds(s.Margin), Retry: s.Retry.policy(), Value: s.value(), LockDelay: seconds(s.LockDelay), OnQueued: onQueued}
}

// acquire carries out acquire, try, acquire_or_extend and adopt.
func (r *runner) acquire(parent context.Context, s step, onQueued func(int)) (lock *redlockd.Lock, err error) {
	client, err := r.open()
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.wait(parent)
	defer cancel()
	switch s.Do {
	case "try":
		lock, err = client.TryAcquire(ctx, r.key(s), options(s, onQueued))
	case "acquire_or_extend":
		lock, err = client.AcquireOrExtend(ctx, r.key(s), r.token(s.Of, s.Token), options(s, onQueued))
	case "adopt":
		lock, err = client.Adopt(ctx, r.key(s), r.token(s.Of, s.Token), redlockd.AdoptOptions{TTL: seconds(s.TTL)})
	default:
		lock, err = client.Acquire(ctx, r.key(s), options(s, onQueued))
	}
	if err == nil && s.As != "" {
		r.keepLock(s.As, lock)
	}
	return lock, err
}

func (r *runner) begin(s step) {
	w := &waiter{queued: make(chan struct{}), ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	r.mutex.Lock()
	r.waiters[s.As] = w
	r.mutex.Unlock()
	var once sync.Once
	name := s.As
	s.As = ""
	go func() {
		defer close(w.ended)
		w.lock, w.err = r.acquire(ctx, s, func(int) {
			once.Do(func() { close(w.queued) })
			if s.Raises {
				panic("raised by the scenario")
			}
		})
		if w.err == nil {
			r.keepLock(name, w.lock)
		}
	}()
}

func (r *runner) waiter(s step) *waiter {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.waiters[s.Waiter]
}

func happens(what <-chan struct{}, s step) error {
	select {
	case <-what:
		return nil
	case <-time.After(s.within()):
		return errors.New("it does not happen")
	}
}

func (r *runner) do(s step) error {
	ctx := context.Background()
	switch s.Do {
	case "acquire", "acquire_or_extend", "adopt":
		_, err := r.acquire(ctx, s, nil)
		return err
	case "try":
		_, err := r.acquire(ctx, s, nil)
		if !s.Gets && errors.Is(err, redlockd.ErrAlreadyHeld) {
			return nil
		} else if !s.Gets && err == nil {
			return errors.New("it got the lock")
		}
		return err
	case "begin":
		r.begin(s)
	case "queued":
		return happens(r.waiter(s).queued, s)
	case "await", "ended":
		w := r.waiter(s)
		if err := happens(w.ended, s); err != nil {
			return err
		}
		return w.err
	case "give_up":
		w := r.waiter(s)
		w.cancel()
		<-w.ended
		if w.err == nil {
			return w.lock.Release(ctx)
		}
		if !errors.Is(w.err, redlockd.ErrCanceled) {
			return fmt.Errorf("given up: %w", w.err)
		}
	case "release":
		if s.KeepFor != nil {
			return r.lock(s.Lock).ReleaseAndKeep(ctx, seconds(*s.KeepFor))
		}
		return r.lock(s.Lock).Release(ctx)
	case "proclaim":
		return r.lock(s.Lock).Proclaim(ctx, s.value())
	case "observe", "sees", "unobserve":
		return r.observe(s)
	case "campaign", "leads":
		return r.elect(s)
	case "extend":
		return r.lock(s.Lock).Extend(ctx, seconds(s.TTL))
	case "downgrade":
		share, err := r.lock(s.Lock).Downgrade(ctx)
		if err == nil && s.As != "" {
			r.keepLock(s.As, share)
		}
		return err
	case "try_extend":
		return r.lock(s.Lock).TryExtend(ctx, seconds(s.TTL))
	case "acquire_detached", "extend_by_token", "try_extend_by_token", "release_by_token":
		return r.byToken(s)
	case "held":
		if lock := r.lock(s.Lock); lock.Held() != s.Is {
			return fmt.Errorf("held is %v: %v", lock.Held(), lock.Err())
		}
	case "lost":
		if lost := r.lock(s.Lock).Err() != nil; lost != s.Is {
			return fmt.Errorf("lost is %v", lost)
		}
	case "await_lost":
		inside, cancel := r.lock(s.Lock).WithContext(ctx)
		defer cancel()
		return happens(inside.Done(), s)
	case "validity":
		if validity := r.named(s.Lock).Validity(); validity < seconds(s.AtLeast) || validity > seconds(s.AtMost) {
			return fmt.Errorf("it is %v", validity)
		}
	case "fences_grow":
		for i := 1; i < len(s.Locks); i++ {
			if r.named(s.Locks[i]).FencingToken() <= r.named(s.Locks[i-1]).FencingToken() {
				return errors.New("fences do not grow")
			}
		}
	case "slots":
		slots, number := map[int]bool{}, 1
		for _, name := range s.Locks {
			slots[r.named(name).Slot()] = true
		}
		if s.Differ {
			number = len(s.Locks)
		}
		if len(slots) != number || slots[0] { // 0: not a slot of a semaphore
			return fmt.Errorf("the slots are %v", slots)
		}
	case "hides_token":
		return hidesToken(r.named(s.Lock))
	case "watch", "watch_hears", "watch_close":
		return r.watch(s)
	case "storm":
		return r.storm(s)
	case "together":
		results := make(chan error, len(s.Steps))
		for _, each := range s.Steps {
			go func() { results <- r.carryOut(each) }()
		}
		var all error
		for range s.Steps {
			all = errors.Join(all, <-results)
		}
		return all
	case "shell":
		return r.shell(s.Command)
	case "sleep", "block":
		time.Sleep(seconds(s.Time))
	case "close":
		r.close()
	default:
		return fmt.Errorf("unknown step %q", s.Do)
	}
	return nil
}

// named is a lock or a lease.
type named interface {
	Token() string
	Slot() int
	FencingToken() uint64
	Validity() time.Duration
}

func (r *runner) named(name string) named {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if lease, found := r.leases[name]; found {
		return lease
	}
	return r.locks[name]
}

func hidesToken(value named) error {
	text, _ := json.Marshal(value)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
		text = append(text, fmt.Sprintf(verb, value)...)
	}
	if strings.Contains(string(text), value.Token()) {
		return errors.New("the token is shown")
	}
	return nil
}

func (r *runner) byToken(s step) (err error) {
	client, err := r.open()
	if err != nil {
		return err
	}
	ctx, cancel := s.wait(context.Background())
	defer cancel()
	var lease redlockd.Lease
	token := r.token(s.Of, s.Token)
	switch s.Do {
	case "acquire_detached":
		lease, err = client.AcquireDetached(ctx, r.key(s), options(s, nil))
	case "extend_by_token":
		lease, err = client.Extend(ctx, r.inSlot(r.key(s), s.target), token, seconds(s.TTL))
	case "try_extend_by_token":
		lease, err = client.TryExtend(ctx, r.inSlot(r.key(s), s.target), token, seconds(s.TTL))
	default:
		if s.KeepFor != nil {
			return client.ReleaseAndKeep(ctx, r.key(s), token, seconds(*s.KeepFor))
		}
		return client.Release(ctx, r.key(s), token)
	}
	if err == nil && s.As != "" {
		r.keepLease(s.As, lease)
	}
	return err
}

func (r *runner) storm(s step) error {
	client, err := r.open()
	if err != nil {
		return err
	}
	random := rand.New(rand.NewSource(1))
	results := make(chan error, s.Count)
	for i := range s.Count {
		key, after := fmt.Sprintf("%sstorm/%d", r.prefix, i), time.Duration(random.Float64()*s.Most*float64(time.Second))
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), after)
			defer cancel()
			results <- acquireAndRelease(ctx, client, key, s)
		}()
	}
	for range s.Count {
		if err := <-results; err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	s.Detached = false
	for i := range s.Count {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			results <- acquireAndRelease(ctx, client, fmt.Sprintf("%sstorm/%d", r.prefix, i), s)
		}()
	}
	for range s.Count {
		if err := <-results; err != nil {
			return fmt.Errorf("a lock was left: %w", err)
		}
	}
	return nil
}

func acquireAndRelease(ctx context.Context, client *redlockd.Client, key string, s step) error {
	options := redlockd.AcquireOptions{TTL: seconds(s.TTL)}
	if s.Detached {
		lease, err := client.AcquireDetached(ctx, key, options)
		if err != nil {
			return err
		}
		return client.Release(context.Background(), key, lease.Token())
	}
	lock, err := client.Acquire(ctx, key, options)
	if err != nil {
		return err
	}
	return lock.Release(context.Background())
}

func (r *runner) shell(line string) error {
	command := exec.Command("sh", "-c", line)
	command.Env = append(os.Environ(), "PREFIX="+r.prefix)
	return command.Run()
}
