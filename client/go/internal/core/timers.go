package core

import "container/heap"

// timers is a heap of actions that are due later. There is no cancellation: an action that is obsolete when it is due
// must do nothing.
type timers []timer

type timer struct {
	at     Instant
	action func(now Instant)
}

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at < t[j].at }
func (t timers) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)        { *t = append(*t, x.(timer)) }
func (t *timers) Pop() any {
	last := len(*t) - 1
	popped := (*t)[last]
	(*t)[last] = timer{}
	*t = (*t)[:last]
	return popped
}

func (t *timers) add(at Instant, action func(now Instant)) { heap.Push(t, timer{at, action}) }

func (t timers) next() Instant {
	if len(t) == 0 {
		return never
	}
	return t[0].at
}

// run runs the actions that are due.
func (t *timers) run(now Instant) {
	for t.next() <= now {
		heap.Pop(t).(timer).action(now)
	}
}
