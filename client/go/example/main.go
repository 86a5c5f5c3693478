// example [HOST:PORT]: acquires a lock, works while it is held, and releases it.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	redlockd "github.com/redlockd/redlockd/client/go"
)

func main() {
	endpoints := []string{"127.0.0.1:50051"}
	if len(os.Args) > 1 {
		endpoints = os.Args[1:]
	}
	client, err := redlockd.New(endpoints, redlockd.Options{})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = client.Do(ctx, "reports", redlockd.AcquireOptions{TTL: 30 * time.Second},
		func(ctx context.Context, lock *redlockd.Lock) error {
			fmt.Println("fencing token", lock.FencingToken())
			for page := 1; page <= 3 && ctx.Err() == nil; page++ {
				fmt.Println("page", page)
				time.Sleep(100 * time.Millisecond)
			}
			return ctx.Err()
		})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
