// Command load acquires and releases locks with one library:  load SUBJECT DAEMON NODE...
// It carries out the orders on its standard input and answers each with one line of JSON.
//
//	run OUTSTANDING SECONDS   that many goroutines acquire and release, each a new key every time
//	hold COUNT                acquires that many locks and keeps them
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

const ttl = 30 * time.Second

// locker acquires a key and returns the function that releases it.
type locker func(ctx context.Context, key string) (unlock func() error, err error)

func main() {
	log.SetFlags(0)
	lock, err := subjects[os.Args[1]](os.Args[2], os.Args[3:])
	if err != nil {
		log.Fatal(err)
	}
	orders := bufio.NewScanner(os.Stdin)
	for number := 0; orders.Scan(); number++ {
		var outstanding, count int
		var seconds float64
		var answer any
		if _, err := fmt.Sscanf(orders.Text(), "run %d %g", &outstanding, &seconds); err == nil {
			answer = run(lock, number, outstanding, time.Duration(seconds*float64(time.Second)))
		} else if _, err := fmt.Sscanf(orders.Text(), "hold %d", &count); err == nil {
			answer = hold(lock, number, count)
		} else {
			log.Fatalf("unknown order %q", orders.Text())
		}
		json.NewEncoder(os.Stdout).Encode(answer)
	}
}

func run(lock locker, number, outstanding int, duration time.Duration) map[string]float64 {
	begin := time.Now()
	var workers sync.WaitGroup
	took := make([][]float64, outstanding) // ms
	for worker := range outstanding {
		workers.Go(func() {
			for cycle := 0; time.Since(begin) < duration; cycle++ {
				start := time.Now()
				unlock, err := lock(context.Background(), fmt.Sprintf("go-%d-%d-%d-%d", os.Getpid(), number, worker, cycle))
				if err == nil {
					err = unlock()
				}
				if err != nil {
					log.Fatal(err)
				}
				took[worker] = append(took[worker], time.Since(start).Seconds()*1000)
			}
		})
	}
	workers.Wait()
	seconds := time.Since(begin).Seconds()
	all := slices.Concat(took...)
	slices.Sort(all)
	return map[string]float64{
		"cycles": float64(len(all)) / seconds, "p50_ms": all[len(all)/2], "p99_ms": all[len(all)*99/100]}
}

var held [][]func() error // a reference to each lock, as its holder has one

func hold(lock locker, number, count int) map[string]float64 {
	const atOnce = 100
	before := heap()
	mine := make([]func() error, count)
	var workers sync.WaitGroup
	for worker := range atOnce {
		workers.Go(func() {
			for i := worker; i < count; i += atOnce {
				var err error
				if mine[i], err = lock(context.Background(), fmt.Sprintf("held-%d-%d-%d", os.Getpid(), number, i)); err != nil {
					log.Fatal(err)
				}
			}
		})
	}
	workers.Wait()
	held = append(held, mine)
	return map[string]float64{"heap_before": before, "heap": heap()}
}

// heap returns the bytes in use after a collection, and returns unused memory to the system, so that the resident
// memory does not include garbage.
func heap() float64 {
	debug.FreeOSMemory()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return float64(memory.HeapAlloc)
}
