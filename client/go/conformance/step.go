package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	redlockd "github.com/redlockd/redlockd/client/go"
)

// target is how steps and items name a lock.
type target struct {
	Key, Token, Of string
	Keys           []string
	Shared         bool
	MaxHolders     int `json:"max_holders"`
}

type item struct {
	target
	TTL, Interval float64
}

type step struct {
	target
	Do, As, Lock, Waiter, Watch, Command, What string
	Owner, Fails, Message, Observer, State     string
	Value                                      *string
	WholeKey                                   string `json:"whole_key"`
	TTL, Within, After, Time, Margin, Most     float64
	AtLeast                                    float64  `json:"at_least"`
	AtMost                                     float64  `json:"at_most"`
	LockDelay                                  float64  `json:"lock_delay"`
	KeepFor                                    *float64 `json:"keep_for"`
	HeldFor                                    float64  `json:"held_for"`
	Wait                                       *float64
	Is, Gets, Raises, Detached, Differ         bool
	MayFail                                    string `json:"may_fail"`
	KeepWatching                               bool   `json:"keep_watching"`
	Count                                      int
	Locks                                      []string
	Items                                      []item
	Steps                                      []step
	Retry                                      *retry
}

type retry struct {
	MaxRetries *int     `json:"max_retries"`
	MinDelay   float64  `json:"min_delay"`
	MaxJitter  *float64 `json:"max_jitter"`
}

func (r *retry) policy() *redlockd.RetryPolicy {
	if r == nil {
		return nil
	}
	policy := &redlockd.RetryPolicy{MaxRetries: redlockd.NoLimit, MinDelay: seconds(r.MinDelay)}
	if r.MaxRetries != nil {
		policy.MaxRetries = *r.MaxRetries
	}
	if r.MaxJitter != nil {
		if policy.MaxJitter = seconds(*r.MaxJitter); policy.MaxJitter == 0 {
			policy.MaxJitter = -1
		}
	}
	return policy
}

// inexpressible returns why Go's API cannot express a value of the step; "": it can.
func (s step) inexpressible() string {
	switch {
	case s.Wait != nil && *s.Wait < 0:
		return "a negative wait"
	case s.Retry != nil && s.Retry.MaxJitter != nil && *s.Retry.MaxJitter < 0:
		return "a negative jitter"
	}
	return ""
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// value returns the field `value`, or what it stands for; "": there is none.
func (s step) value() string {
	switch {
	case s.Value == nil:
		return ""
	case *s.Value == "VALUE_OF_4097_BYTES":
		return strings.Repeat("x", 4097)
	}
	return *s.Value
}

// within returns how long the step may take.
func (s step) within() time.Duration {
	if s.Within > 0 {
		return seconds(s.Within)
	}
	return 20 * time.Second
}

// wait returns a context that bounds a call of the step. A wait of 0 is a single try.
func (s step) wait(parent context.Context) (ctx context.Context, cancel context.CancelFunc) {
	if s.Wait == nil || *s.Wait == 0 {
		return context.WithCancel(parent)
	}
	return context.WithTimeout(parent, seconds(*s.Wait))
}

// saysForHowLong reports whether the error has the time for which the lock has been held, in a field and in its message.
func (s step) saysForHowLong(err error) bool {
	var why *redlockd.Error
	return errors.As(err, &why) && why.HeldFor >= seconds(s.HeldFor) && why.HeldFor < seconds(s.HeldFor)+time.Minute &&
		strings.Contains(err.Error(), fmt.Sprintf(" for %.3f s", why.HeldFor.Seconds()))
}

// check compares the outcome of the step with what it must be.
func (s step) check(err error, took time.Duration) error {
	reason := redlockd.ReasonOf(err)
	switch {
	case err != nil && reason == "":
		return err
	case s.MayFail == "*" || reason != "" && s.MayFail == reason:
	case reason != s.Fails:
		return fmt.Errorf("%q, not %q: %v", reason, s.Fails, err)
	case err != nil && !strings.Contains(err.Error(), s.Message):
		return fmt.Errorf("%q does not contain %q", err, s.Message)
	case s.HeldFor > 0 && !s.saysForHowLong(err):
		return fmt.Errorf("%q and its field do not say for how long the lock has been held", err)
	}
	switch {
	case s.Within > 0 && took > seconds(s.Within):
		return fmt.Errorf("it took %v", took)
	case took < seconds(s.After)-20*time.Millisecond:
		return fmt.Errorf("it took only %v", took)
	}
	return nil
}
