package redlockd

import (
	"strings"
	"time"
	"unicode/utf8"
)

const (
	leastTTL     = 10 * time.Millisecond
	leastGrace   = 100 * time.Millisecond
	mostKeyBytes = 512
	mostLabel    = 128 // bytes of an owner or a token
	reserved     = "redlockd:"
)

// These checks run before anything is sent, so that an invalid value fails only its own call.

func checkAcquire(key string, o AcquireOptions, grace time.Duration) *Error {
	switch {
	case len(key) == 0 || len(key) > mostKeyBytes:
		return invalid("key", "must have 1 to %d bytes, not %d", mostKeyBytes, len(key))
	case !utf8.ValidString(key):
		return invalid("key", "must be UTF-8: %q", key)
	case strings.HasPrefix(key, reserved):
		return invalid("key", "must not begin with %q, which is reserved: %q", reserved, key)
	case len(o.Owner) > mostLabel:
		return invalid("owner", "must have at most %d bytes, not %d", mostLabel, len(o.Owner))
	case !utf8.ValidString(o.Owner):
		return invalid("owner", "must be UTF-8: %q", o.Owner)
	case len(o.Token) > mostLabel:
		return invalid("token", "must have at most %d bytes, not %d", mostLabel, len(o.Token))
	case !utf8.ValidString(o.Token):
		return invalid("token", "must be UTF-8")
	case o.Margin < 0 || o.Margin >= o.TTL || o.Margin >= grace:
		return invalid("margin", "must be at least 0 and less than the TTL (%v) and the client's grace (%v), not %v", o.TTL, grace,
			o.Margin)
	}
	return checkTTL(o.TTL)
}

func checkTTL(ttl time.Duration) *Error {
	if ttl < leastTTL {
		return invalid("ttl", "must be at least %v, not %v", leastTTL, ttl)
	}
	return nil
}
