package core

import (
	"slices"
	"strings"
)

// Key is what one lease locks: one key, or several keys together. The machine treats both alike. Only checks, messages
// and texts look at the names of the keys.
type Key string

// separator begins each name in a key of several. It occurs in no valid name, because it occurs in no UTF-8.
const separator = "\xff"

// Together returns the key of several names, whose order does not matter. One name is itself a key.
func Together(names ...string) Key {
	sorted := make([]string, len(names))
	for i, name := range names {
		// An invalid name must stay invalid, instead of becoming several names.
		sorted[i] = strings.ReplaceAll(name, separator, "\xfe")
	}
	slices.Sort(sorted)
	if len(sorted) < 2 {
		return Key(strings.Join(sorted, ""))
	}
	return Key(separator + strings.Join(sorted, separator))
}

// KeyOf returns the key that a message names.
func KeyOf(message interface {
	GetKey() string
	GetKeys() []string
}) Key {
	if names := message.GetKeys(); len(names) > 0 {
		return Together(names...)
	}
	return Key(message.GetKey())
}

// Fields returns the fields `key` and `keys` of a message.
func (k Key) Fields() (key string, keys []string) {
	if strings.HasPrefix(string(k), separator) && strings.Count(string(k), separator) > 1 {
		return "", strings.Split(string(k[len(separator):]), separator)
	}
	return string(k), nil
}

// Names returns the names in byte order; none for the empty key.
func (k Key) Names() []string {
	key, keys := k.Fields()
	if key != "" {
		return []string{key}
	}
	return keys
}

// String returns the key for people.
func (k Key) String() string { return strings.Join(k.Names(), ", ") }
