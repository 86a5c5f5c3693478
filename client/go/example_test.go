package redlockd_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	redlockd "github.com/redlockd/redlockd/client/go"
)

func ExampleClient_Do() {
	client, err := redlockd.New([]string{"127.0.0.1:50051"}, redlockd.Options{})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	err = client.Do(context.Background(), "reports", redlockd.AcquireOptions{TTL: 30 * time.Second},
		func(ctx context.Context, lock *redlockd.Lock) error {
			fmt.Println("writing with fencing token", lock.FencingToken())
			return ctx.Err() // ends when the lock is lost
		})
	if err != nil {
		fmt.Println(err)
	}
}

func ExampleClient_Acquire() {
	client, err := redlockd.New([]string{"10.0.0.1:50051", "10.0.0.2:50051"}, redlockd.Options{})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // how long to wait
	defer cancel()
	lock, err := client.Acquire(ctx, "reports", redlockd.AcquireOptions{})
	switch {
	case errors.Is(err, redlockd.ErrUnreachable), errors.Is(err, redlockd.ErrQuorumUnavailable):
		fmt.Println("an outage:", err)
		return
	case errors.Is(err, redlockd.ErrTimeout):
		fmt.Println("held by another:", err)
		return
	case err != nil:
		panic(err)
	}
	defer func() { _ = lock.Release(context.Background()) }()
	select {
	case <-lock.Lost():
		fmt.Println("stop:", lock.Err())
	case <-time.After(time.Second): // the work
	}
}

// Two accounts are locked at once, or neither is. Concurrent transfers cannot deadlock, whatever the order of their keys.
func ExampleTogether() {
	client, err := redlockd.New([]string{"127.0.0.1:50051"}, redlockd.Options{})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	accounts := redlockd.Together("accounts/alice", "accounts/bob")
	err = client.Do(context.Background(), accounts, redlockd.AcquireOptions{},
		func(ctx context.Context, lock *redlockd.Lock) error {
			fmt.Println("a transfer between", lock.Keys(), "with fencing token", lock.FencingToken())
			return ctx.Err() // ends when either lock is lost
		})
	if err != nil {
		fmt.Println(err) // names both accounts
	}
}

// At most five programs download at the same time.
func ExampleSemaphore() {
	client, err := redlockd.New([]string{"127.0.0.1:50051"}, redlockd.Options{})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	err = client.Do(context.Background(), redlockd.Semaphore("downloads", 5), redlockd.AcquireOptions{},
		func(ctx context.Context, lock *redlockd.Lock) error {
			fmt.Println("downloading in slot", lock.Slot(), "of", lock.MaxHolders())
			return ctx.Err() // ends when the slot is lost
		})
	var failure *redlockd.Error
	switch {
	case errors.Is(err, redlockd.ErrKindMismatch) && errors.As(err, &failure):
		fmt.Println("downloads is in use as", failure.InUseAs) // for example, "a semaphore of 3"
	case err != nil:
		fmt.Println(err)
	}
}

// A slot of a semaphore that outlives this process, and that another process takes over.
func ExampleLease_MaxHolders() {
	client, err := redlockd.New([]string{"10.0.0.1:50051"}, redlockd.Options{})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	lease, err := client.AcquireDetached(context.Background(), redlockd.Semaphore("downloads", 5), redlockd.AcquireOptions{TTL: time.Minute})
	if err != nil {
		panic(err)
	}
	key, maxHolders, token := lease.Keys()[0], lease.MaxHolders(), lease.Token() // for the other process, which calls:
	lock, err := client.Adopt(context.Background(), redlockd.Semaphore(key, maxHolders), token, redlockd.AdoptOptions{})
	if err != nil {
		panic(err)
	}
	defer func() { _ = lock.Release(context.Background()) }()
}

// A lock that outlives this process, and that another process takes over.
func ExampleClient_AcquireDetached() {
	client, err := redlockd.New([]string{"10.0.0.1:50051"}, redlockd.Options{})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	lease, err := client.AcquireDetached(context.Background(), "reports", redlockd.AcquireOptions{TTL: time.Minute})
	if err != nil {
		panic(err)
	}
	keys, token := lease.Keys(), lease.Token() // for the other process, which calls:
	lock, err := client.Adopt(context.Background(), redlockd.Together(keys...), token, redlockd.AdoptOptions{})
	if err != nil {
		panic(err)
	}
	defer func() { _ = lock.Release(context.Background()) }()
}

// Keeps locks alive that were acquired elsewhere.
func ExampleClient_Watch() {
	client, err := redlockd.New([]string{"10.0.0.1:50051"}, redlockd.Options{})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	items := []redlockd.WatchItem{
		{Key: "reports", Token: "the token of the lock", TTL: time.Minute},
		{Key: "invoices", Token: "another token", TTL: 10 * time.Second, Interval: time.Second},
	}
	watch, err := client.Watch(context.Background(), items, redlockd.WatchOptions{OnEvent: func(event redlockd.WatchEvent) {
		switch event.Kind {
		case redlockd.WatchLost:
			fmt.Println("stop the work on", event.Keys(), event.Err)
		case redlockd.WatchExtendFailed, redlockd.WatchInterrupted:
			fmt.Println("trouble:", event.Err)
		case redlockd.WatchEnded:
			fmt.Println("the watch was closed")
		}
	}})
	if err != nil {
		panic(err)
	}
	defer watch.Close()
}

// A writer publishes what it has written, and continues as a reader. The two deferred releases may run in any order.
func ExampleLock_Downgrade() {
	client, err := redlockd.New([]string{"127.0.0.1:50051"}, redlockd.Options{})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	ctx := context.Background()
	writer, err := client.Acquire(ctx, "catalog", redlockd.AcquireOptions{})
	if err != nil {
		panic(err)
	}
	defer func() { _ = writer.Release(ctx) }() // does nothing once it is downgraded
	fmt.Println("writing with fencing token", writer.FencingToken())
	share, err := writer.Downgrade(ctx)
	if err != nil {
		panic(err)
	}
	defer func() { _ = share.Release(ctx) }()
	fmt.Println("reading, together with others")
}

// Each process campaigns. The one that is elected publishes its address and leads until it loses the lock or resigns.
func ExampleElection_Campaign() {
	client, err := redlockd.New([]string{"10.0.0.1:50051", "10.0.0.2:50051"}, redlockd.Options{})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	ctx := context.Background()
	election := client.Election("reports")
	lock, err := election.Campaign(ctx, "10.0.0.7:80", redlockd.AcquireOptions{TTL: 10 * time.Second})
	if err != nil {
		panic(err)
	}
	defer func() { _ = election.Resign(ctx) }()
	fmt.Println("leading with fencing token", lock.FencingToken())
	if err := election.Proclaim(ctx, "10.0.0.7:81"); err != nil {
		fmt.Println(err)
	}
	<-lock.Lost()
	fmt.Println("stop leading:", lock.Err())
}

// Follows the leader of an election. A leader with a lower fencing token than this one is no longer the leader.
func ExampleElection_Observe() {
	client, err := redlockd.New([]string{"10.0.0.1:50051", "10.0.0.2:50051"}, redlockd.Options{})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour) // ends the loop with an error; break ends it without
	defer cancel()
	for state, err := range client.Election("reports").Observe(ctx) {
		switch {
		case err != nil:
			fmt.Println(err)
		case state.State == redlockd.StateHeld:
			fmt.Println("the leader is", state.Value, "with fencing token", state.FencingToken)
		case state.State == redlockd.StateVacant:
			fmt.Println("nobody leads")
		case state.State == redlockd.StateUndecided:
			fmt.Println("the leader is unknown:", state.Message)
		}
	}
}

// A dashboard shows who holds a key, whatever its kind.
func ExampleClient_Observe() {
	client, err := redlockd.New([]string{"127.0.0.1:50051"}, redlockd.Options{})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	for state, err := range client.Observe(context.Background(), "downloads") {
		if err != nil {
			panic(err)
		}
		fmt.Println(state.State, state.Holders, "of", state.MaxHolders)
		for _, holder := range state.HeldBy {
			fmt.Println(holder.Owner, "in slot", holder.Slot, "for", holder.HeldFor)
		}
	}
}

// A job that several machines start at the same time runs once, although their clocks differ by up to two minutes.
func ExampleLock_ReleaseAndKeep() {
	client, err := redlockd.New([]string{"127.0.0.1:50051"}, redlockd.Options{})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	ctx := context.Background()
	lock, err := client.TryAcquire(ctx, "nightly-report", redlockd.AcquireOptions{})
	switch {
	case errors.Is(err, redlockd.ErrAlreadyHeld):
		return // another machine runs the job, or has run it
	case err != nil:
		panic(err)
	}
	fmt.Println("running the job")
	if err := lock.ReleaseAndKeep(ctx, 2*time.Minute); err != nil {
		fmt.Println(err)
	}
}
