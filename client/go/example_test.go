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
	case redlockd.ReasonOf(err) == redlockd.Unreachable:
		fmt.Println("no daemon:", err)
		return
	case errors.Is(err, context.DeadlineExceeded):
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
