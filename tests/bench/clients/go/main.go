// Command load acquires and releases locks with one library:  load SUBJECT DAEMON NODE...
// It carries out the orders on its standard input and answers each with one line of JSON.
//
//	run OUTSTANDING SECONDS   that many goroutines acquire and release, each a new key every time
//	hold COUNT                acquires that many locks and keeps them
//	contend WORKERS HOLD PAUSE SECONDS   that many goroutines want one key, hold it for HOLD s, and pause for PAUSE s
//	wait COUNT                holds a key for which that many goroutines begin to wait
//	pass                      releases that key, and answers when each of them has had it
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
	"strconv"
	"strings"
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
	var release func()
	for number := 0; orders.Scan(); number++ {
		order, values := parse(orders.Text())
		var answer any
		switch order {
		case "run":
			answer = run(lock, number, int(values[0]), seconds(values[1]))
		case "hold":
			answer = hold(lock, number, int(values[0]))
		case "contend":
			answer = contend(lock, number, int(values[0]), seconds(values[1]), seconds(values[2]), seconds(values[3]))
		case "wait":
			release = wait(lock, number, int(values[0]))
		case "pass":
			release()
		default:
			log.Fatalf("unknown order %q", order)
		}
		json.NewEncoder(os.Stdout).Encode(answer)
	}
}

func parse(line string) (order string, values []float64) {
	words := strings.Fields(line)
	for _, word := range words[1:] {
		value, err := strconv.ParseFloat(word, 64)
		if err != nil {
			log.Fatal(err)
		}
		values = append(values, value)
	}
	return words[0], values
}

func seconds(value float64) time.Duration {
	return time.Duration(value * float64(time.Second))
}

// acquire returns the function that releases the key. Errors end the program.
func acquire(lock locker, key string) func() {
	unlock, err := lock(context.Background(), key)
	if err != nil {
		log.Fatal(err)
	}
	return func() {
		if err := unlock(); err != nil {
			log.Fatal(err)
		}
	}
}

func run(lock locker, number, outstanding int, duration time.Duration) map[string]float64 {
	begin := time.Now()
	var workers sync.WaitGroup
	took := make([][]float64, outstanding) // ms
	for worker := range outstanding {
		workers.Go(func() {
			for cycle := 0; cycle == 0 || time.Since(begin) < duration; cycle++ {
				start := time.Now()
				acquire(lock, fmt.Sprintf("go-%d-%d-%d-%d", os.Getpid(), number, worker, cycle))()
				took[worker] = append(took[worker], time.Since(start).Seconds()*1000)
			}
		})
	}
	workers.Wait()
	lasted := time.Since(begin).Seconds()
	all := slices.Concat(took...)
	slices.Sort(all)
	return map[string]float64{
		"cycles": float64(len(all)) / lasted, "count": float64(len(all)),
		"p50_ms": all[len(all)/2], "p99_ms": all[len(all)*99/100]}
}

// contend returns the turns: worker, and when it requested, acquired and released, in seconds.
func contend(lock locker, number, workers int, hold, pause, duration time.Duration) map[string][][4]float64 {
	key := fmt.Sprintf("contended-%d-%d", os.Getpid(), number)
	begin := time.Now()
	var all sync.WaitGroup
	turns := make([][][4]float64, workers)
	for worker := range workers {
		all.Go(func() {
			for time.Since(begin) < duration {
				requested := time.Since(begin).Seconds()
				release := acquire(lock, key)
				acquired := time.Since(begin).Seconds()
				time.Sleep(hold)
				released := time.Since(begin).Seconds()
				release()
				turns[worker] = append(turns[worker], [4]float64{float64(worker), requested, acquired, released})
				time.Sleep(pause)
			}
		})
	}
	all.Wait()
	return map[string][][4]float64{"turns": slices.Concat(turns...)}
}

// wait returns the function that releases the key, and returns when each of the waiters has had it.
func wait(lock locker, number, count int) func() {
	key := fmt.Sprintf("awaited-%d-%d", os.Getpid(), number)
	release := acquire(lock, key)
	var waiters sync.WaitGroup
	for range count {
		waiters.Go(func() { acquire(lock, key)() })
	}
	return func() {
		release()
		waiters.Wait()
	}
}

var held [][]func() // a reference to each lock, as its holder has one

func hold(lock locker, number, count int) map[string]float64 {
	const atOnce = 100
	before := heap()
	mine := make([]func(), count)
	var workers sync.WaitGroup
	for worker := range atOnce {
		workers.Go(func() {
			for i := worker; i < count; i += atOnce {
				mine[i] = acquire(lock, fmt.Sprintf("held-%d-%d-%d", os.Getpid(), number, i))
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
