package redlockdtest_test

import (
	"context"
	"errors"
	"testing"

	redlockd "github.com/redlockd/redlockd/client/go"
	"github.com/redlockd/redlockd/client/go/redlockdtest"
)

var t *testing.T // of the test

// writeReports is the work that a lock protects.
func writeReports(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// What does a program do when it loses its lock?
func ExampleStart() {
	server := redlockdtest.Start(t) // ends with the test
	client, err := redlockd.New([]string{server.Endpoint()}, redlockd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	err = client.Do(t.Context(), "reports", redlockd.AcquireOptions{}, func(ctx context.Context, _ *redlockd.Lock) error {
		if err := server.Lose("reports"); err != nil {
			return err
		}
		return writeReports(ctx) // must return soon
	})
	if !errors.Is(err, redlockd.ErrLockLost) {
		t.Fatal(err)
	}
}

func TestTheExample(test *testing.T) {
	start(test) // skips the test if there is no daemon
	t = test
	ExampleStart()
}
