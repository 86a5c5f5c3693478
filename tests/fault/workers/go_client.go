// The Go client as a worker. ../README.md describes its output.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redlockd/redlockd/client/go"
)

var name = os.Getenv("WORKER_NAME")

func now() float64 {
	var at unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &at); err != nil {
		panic(err)
	}
	return float64(at.Sec) + float64(at.Nsec)/1e9
}

func number(variable string) float64 {
	value, err := strconv.ParseFloat(os.Getenv(variable), 64)
	if err != nil {
		panic(err)
	}
	return value
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

type fields map[string]any

type worker struct {
	random     *rand.Rand
	history    *os.File
	sharedKeys int
	client     *redlockd.Client
	tokens     int
}

func (w *worker) record(what string, more ...fields) {
	line := fields{"worker": name, "what": what}
	for _, each := range more {
		for field, value := range each {
			line[field] = value
		}
	}
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	if _, err := w.history.Write(append(text, '\n')); err != nil {
		panic(err)
	}
}

func (w *worker) between(least, most float64) float64 { return least + w.random.Float64()*(most-least) }

func (w *worker) newClient() {
	endpoints := strings.Split(os.Getenv("WORKER_ENDPOINTS"), ",")
	w.random.Shuffle(len(endpoints), func(i, j int) { endpoints[i], endpoints[j] = endpoints[j], endpoints[i] })
	client, err := redlockd.New(endpoints, redlockd.Options{Grace: seconds(number("WORKER_GRACE"))})
	if err != nil {
		panic(err)
	}
	w.client = client
}

func outcome(err error) string {
	if err == nil {
		return "OK"
	}
	return redlockd.ReasonOf(err)
}

func (w *worker) acquire(key string) (*redlockd.Lock, error) {
	options := redlockd.AcquireOptions{TTL: seconds(w.between(0.3, 1)), Owner: name}
	if w.random.Float64() < 0.3 {
		w.tokens++
		options.Token = fmt.Sprintf("%s-%d-%d", name, os.Getpid(), w.tokens)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if w.random.Float64() < 0.4 {
		options.Try = true
	}
	return w.client.Acquire(ctx, key, options)
}

func (w *worker) cycle(key string) {
	sent := now()
	lock, err := w.acquire(key)
	if err != nil {
		w.record("not acquired", fields{"key": key, "sent": sent, "received": now(), "reason": outcome(err)})
		time.Sleep(10 * time.Millisecond)
		return
	}
	id := fields{"key": key, "token": lock.Token()}
	w.record("acquired", id, fields{"sent": sent, "received": now(), "fence": lock.FencingToken()})
	w.use(lock, id)
	w.record("releases", id, fields{"sent": now()})
	if w.random.Float64() < 0.1 {
		w.client.Close()
		w.newClient()
		return
	}
	err = lock.Release(context.Background())
	w.record("released", id, fields{"received": now(), "reason": outcome(err)})
}

// Records how long the client trusts the lock, until the lock is lost or some time has passed.
func (w *worker) use(lock *redlockd.Lock, id fields) {
	end := now() + w.between(0, 2.5)
	var by any
	unsignalled := now()
	for now() < end {
		before := now()
		validity := lock.Validity().Seconds()
		begin := now()
		if validity > 0 {
			by = before + validity
			w.record("trusts", id, fields{"begin": begin, "end": by, "fence": lock.FencingToken()})
		}
		select {
		case <-lock.Lost():
			w.record("lost", id, fields{"received": now(), "by": by, "unsignalled": unsignalled, "reason": outcome(lock.Err())})
			return
		case <-time.After(seconds(w.between(0, 0.05))):
		}
		unsignalled = now()
		if w.random.Float64() < 0.02 {
			_ = lock.Extend(context.Background(), seconds(w.between(0.3, 1)))
		}
	}
}

func main() {
	history, err := os.OpenFile(os.Getenv("WORKER_HISTORY"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	w := &worker{
		random:     rand.New(rand.NewSource(int64(number("WORKER_SEED")))),
		history:    history,
		sharedKeys: int(number("WORKER_SHARED_KEYS")),
	}
	w.newClient()
	for {
		if w.random.Float64() < 0.7 {
			w.cycle(fmt.Sprintf("shared-%d", w.random.Intn(w.sharedKeys)))
		} else {
			w.cycle("own-" + name)
		}
	}
}
