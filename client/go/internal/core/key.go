package core

import (
	"slices"
	"strings"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// Key is what one lease locks: one key, or several keys together, and the mode. The machine treats all alike: a share and
// an exclusive lock of the same keys are different locks. Only checks, messages and texts look at the names and the mode.
type Key string

// None of these occurs in a valid name, because none occurs in UTF-8.
const (
	separator = "\xff" // begins each name in a key of several
	share     = "\xfe" // begins the key of a share
	invalid   = "\xfd" // replaces the others in a name
)

var invalidated = strings.NewReplacer(separator, invalid, share, invalid)

// Together returns the key of several names, whose order does not matter. One name is itself a key.
func Together(names ...string) Key {
	sorted := make([]string, len(names))
	for i, name := range names {
		// An invalid name must stay invalid, instead of becoming several names or a share.
		sorted[i] = invalidated.Replace(name)
	}
	slices.Sort(sorted)
	if len(sorted) < 2 {
		return Key(strings.Join(sorted, ""))
	}
	return Key(separator + strings.Join(sorted, separator))
}

// Shared returns the key of a share of k.
func Shared(k Key) Key {
	if k.Shared() {
		return k
	}
	return share + k
}

// Shared reports whether it is the key of a share.
func (k Key) Shared() bool { return strings.HasPrefix(string(k), share) }

// Mode returns the field `mode` of a message.
func (k Key) Mode() pb.LockMode {
	if k.Shared() {
		return pb.LockMode_LOCK_MODE_SHARED
	}
	return pb.LockMode_LOCK_MODE_UNSPECIFIED // exclusive
}

// KeyOf returns the key that a message names, in its mode.
func KeyOf(message interface {
	GetKey() string
	GetKeys() []string
	GetMode() pb.LockMode
}) Key {
	key := Key(message.GetKey())
	if names := message.GetKeys(); len(names) > 0 {
		key = Together(names...)
	}
	if message.GetMode() == pb.LockMode_LOCK_MODE_SHARED {
		return Shared(key)
	}
	return key
}

// Fields returns the fields `key` and `keys` of a message.
func (k Key) Fields() (key string, keys []string) {
	text := strings.TrimPrefix(string(k), share)
	if strings.HasPrefix(text, separator) && strings.Count(text, separator) > 1 {
		return "", strings.Split(text[len(separator):], separator)
	}
	return text, nil
}

// Names returns the names in byte order; none for the empty key.
func (k Key) Names() []string {
	key, keys := k.Fields()
	if key != "" {
		return []string{key}
	}
	return keys
}

// String returns the names for people.
func (k Key) String() string { return strings.Join(k.Names(), ", ") }
