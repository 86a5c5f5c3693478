package redlockd

import (
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/redlockd/redlockd/client/go/internal/core"
)

const (
	leastTTL     = 10 * time.Millisecond
	leastGrace   = 100 * time.Millisecond
	mostKeyBytes = 512
	mostKeys     = 64   // together
	mostKeysSize = 8192 // bytes of several keys together
	leastHolders = 2    // of a semaphore
	mostHolders  = 64
	mostLabel    = 128 // bytes of an owner or a token
	mostValue    = 4096
	leastKeepFor = time.Millisecond
	reserved     = "redlockd:"
)

// These checks run before anything is sent, so that an invalid value fails only its own call.

// checkAcquire accepts a key with a slot and one without.
func checkAcquire(key core.Key, o AcquireOptions, grace time.Duration) *Error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := checkText("owner", o.Owner, mostLabel); err != nil {
		return err
	}
	if o.Token != "" {
		if err := checkToken(o.Token); err != nil {
			return err
		}
	}
	if err := o.Retry.check(); err != nil {
		return err
	}
	if err := checkTTL(o.TTL); err != nil {
		return err
	}
	if err := checkText("value", o.Value, mostValue); err != nil {
		return err
	}
	if o.LockDelay < 0 {
		return invalid("lockDelay", "must not be negative: %v", o.LockDelay)
	}
	return checkMargin(o.Margin, o.TTL, grace)
}

func checkKey(key core.Key) *Error {
	one, several := key.Fields()
	if err := checkNames(one, several); err != nil {
		return err
	}
	if !key.Semaphore() {
		return nil
	}
	maxHolders := key.MaxHolders()
	switch slot, named := key.Slot(); {
	case maxHolders < leastHolders || maxHolders > mostHolders:
		return invalid("maxHolders", "must be from %d to %d, not %d", leastHolders, mostHolders, maxHolders)
	case several != nil:
		return invalid("maxHolders", "a semaphore has one key, not %d", len(several))
	case key.Shared():
		return invalid("maxHolders", "a semaphore cannot be shared; pass either Semaphore or Shared")
	case named && (slot < 1 || slot > maxHolders):
		return invalid("slot", "must be from 1 to maxHolders, which is %d, not %d", maxHolders, slot)
	}
	return nil
}

func checkObserved(key core.Key) *Error {
	if err := checkKey(key); err != nil {
		return err
	}
	if _, several := key.Fields(); several != nil {
		return invalid("key", "an observer has one key, not %d", len(several))
	}
	return nil
}

// checkElection checks the name of an election.
func checkElection(name core.Key) *Error {
	if _, several := name.Fields(); several != nil || name.Shared() || name.Semaphore() {
		return invalid("name", "an election has one key, which is neither shared nor a semaphore")
	}
	return checkKey(name)
}

// checkAnySlot checks the key of a call that gets any free slot of a semaphore.
func checkAnySlot(key core.Key) *Error {
	if _, named := key.Slot(); named {
		return invalid("slot", "the daemon chooses it; pass Semaphore instead of Slot to acquire the key")
	}
	return nil
}

func checkNames(one string, several []string) *Error {
	if several == nil {
		return checkName(one)
	}
	if len(several) > mostKeys {
		return invalid("keys", "must be at most %d, not %d", mostKeys, len(several))
	}
	size := 0
	for i, name := range several {
		if err := checkName(name); err != nil {
			return err
		}
		if i > 0 && name == several[i-1] {
			return invalid("keys", "%q is there twice", name)
		}
		size += len(name)
	}
	if size > mostKeysSize {
		return invalid("keys", "must have at most %d bytes together, not %d", mostKeysSize, size)
	}
	return nil
}

func checkName(key string) *Error {
	switch {
	case len(key) == 0 || len(key) > mostKeyBytes:
		return invalid("key", "must have 1 to %d bytes, not %d", mostKeyBytes, len(key))
	case !utf8.ValidString(key):
		return invalid("key", "must be UTF-8: %q", key)
	case strings.HasPrefix(key, reserved):
		return invalid("key", "must not begin with %q, which is reserved: %q", reserved, key)
	}
	return nil
}

func checkText(field, text string, most int) *Error {
	switch {
	case len(text) > most:
		return invalid(field, "must have at most %d bytes, not %d", most, len(text))
	case !utf8.ValidString(text):
		return invalid(field, "must be UTF-8: %q", text)
	}
	return nil
}

// checkToken never shows the token, which is a secret.
func checkToken(token string) *Error {
	switch {
	case len(token) == 0 || len(token) > mostLabel:
		return invalid("token", "must have 1 to %d bytes, not %d", mostLabel, len(token))
	case !utf8.ValidString(token):
		return invalid("token", "must be UTF-8")
	case strings.HasPrefix(token, reserved):
		return invalid("token", "must not begin with %q, which is reserved", reserved)
	}
	return nil
}

// The daemon extends a lock when about half of its TTL is left. A margin close to that would signal a loss before the
// extension arrives.
func checkMargin(margin, ttl, grace time.Duration) *Error {
	longest := ttl / 3
	if grace < ttl {
		longest = grace / 3
	}
	if margin < 0 || margin > longest {
		return invalid("margin", "must be from 0 to %v (a third of the TTL or of the client's grace, whichever is less), not %v",
			longest, margin)
	}
	return nil
}

// A wrong port is refused here; otherwise the client would only report that no daemon answers. Other forms of address
// are left to gRPC.
var hostPort = regexp.MustCompile(`^(?:\[[^\]]*\]|[^:/]*):([0-9]*)$`)

func checkEndpoints(endpoints []string) *Error {
	if len(endpoints) == 0 {
		return invalid("endpoints", "none given; pass at least one address such as \"127.0.0.1:50051\"")
	}
	for _, endpoint := range endpoints {
		if strings.HasPrefix(endpoint, "unix:") {
			continue
		}
		if !strings.Contains(endpoint, ":") || strings.HasSuffix(endpoint, "]") || strings.HasPrefix(endpoint, "http:") ||
			strings.HasPrefix(endpoint, "https:") {
			return invalid("endpoints", "%q must be \"host:port\" or \"unix:/path\"", endpoint)
		}
		match := hostPort.FindStringSubmatch(endpoint)
		if match == nil {
			continue
		}
		if port, err := strconv.ParseUint(match[1], 10, 16); err != nil || port == 0 {
			return invalid("endpoints", "%s: the port must be a number from 1 to 65535", endpoint)
		}
	}
	return nil
}

func checkKeepFor(keepFor time.Duration) *Error {
	if keepFor < leastKeepFor {
		return invalid("keepFor", "must be at least %v, not %v", leastKeepFor, keepFor)
	}
	return nil
}

func checkTTL(ttl time.Duration) *Error {
	if ttl < leastTTL {
		return invalid("ttl", "must be at least %v, not %v", leastTTL, ttl)
	}
	return nil
}
