package core

import (
	"slices"
	"strconv"
	"strings"

	pb "github.com/redlockd/redlockd/client/go/redlockv1"
)

// Key is what one lease locks: one key, or several keys together, and the way: as an exclusive lock, as a share, or as a
// semaphore of a limit. The machine treats all alike: a share and an exclusive lock of the same keys are different locks.
// Only checks, messages and texts look at the names and the way. A caller's key may also name a slot of the semaphore;
// the machine's keys never do, because a client learns the slot only with the lease.
type Key string

// None of these occurs in a valid name, because none occurs in UTF-8.
const (
	separator = "\xff" // begins each name in a key of several
	share     = "\xfe" // begins the key of a share
	semaphore = "\xfc" // encloses the limit of a semaphore, or its limit and a slot, as in "5/2"
	invalid   = "\xfd" // replaces the others in a name
)

var invalidated = strings.NewReplacer(separator, invalid, share, invalid, semaphore, invalid)

// parts are the parts of a key.
type parts struct {
	shared     bool
	semaphore  bool
	maxHolders int
	slotted    bool
	slot       int
	names      string // one, or several with separators
}

func (k Key) parts() parts {
	text, shared := strings.CutPrefix(string(k), share)
	p := parts{shared: shared, names: text}
	marked, found := strings.CutPrefix(text, semaphore)
	numbers, names, closed := strings.Cut(marked, semaphore)
	first, second, slotted := strings.Cut(numbers, "/")
	maxHolders, notFirst := strconv.Atoi(first)
	slot, notSecond := strconv.Atoi(second)
	if !found || !closed || notFirst != nil || slotted && notSecond != nil {
		return p
	}
	return parts{shared: shared, semaphore: true, maxHolders: maxHolders, slotted: slotted, slot: slot, names: names}
}

func (p parts) key() Key {
	key := p.names
	if p.semaphore {
		numbers := strconv.Itoa(p.maxHolders)
		if p.slotted {
			numbers += "/" + strconv.Itoa(p.slot)
		}
		key = semaphore + numbers + semaphore + key
	}
	if p.shared {
		key = share + key
	}
	return Key(key)
}

// Together returns the key of several names, whose order does not matter. One name is itself a key.
func Together(names ...string) Key {
	sorted := make([]string, len(names))
	for i, name := range names {
		// An invalid name must stay invalid, instead of becoming several names, a share or a semaphore.
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
	p := k.parts()
	p.shared = true
	return p.key()
}

// Shared reports whether it is the key of a share.
func (k Key) Shared() bool { return k.parts().shared }

// Semaphore returns the key of a semaphore of k.
func Semaphore(k Key, maxHolders int) Key {
	p := k.parts()
	return parts{shared: p.shared, semaphore: true, maxHolders: maxHolders, names: p.names}.key()
}

// Semaphore reports whether it is the key of a semaphore.
func (k Key) Semaphore() bool { return k.parts().semaphore }

// MaxHolders returns the limit of the semaphore; 0: it is none.
func (k Key) MaxHolders() int { return k.parts().maxHolders }

// InSlot returns the key of one slot, if k is the key of a semaphore; otherwise k.
func (k Key) InSlot(slot int) Key {
	p := k.parts()
	p.slotted, p.slot = true, slot
	return p.key()
}

// Slot returns the slot that the key names, and whether it names one.
func (k Key) Slot() (slot int, named bool) {
	p := k.parts()
	return p.slot, p.slotted
}

// WithoutSlot returns the machine's key.
func (k Key) WithoutSlot() Key {
	p := k.parts()
	p.slotted = false
	return p.key()
}

// Mode returns the field `mode` of a message.
func (k Key) Mode() pb.LockMode {
	if k.Shared() {
		return pb.LockMode_LOCK_MODE_SHARED
	}
	return pb.LockMode_LOCK_MODE_UNSPECIFIED // exclusive
}

// KeyOf returns the key that a message names, in its way.
func KeyOf(message interface {
	GetKey() string
	GetKeys() []string
	GetMode() pb.LockMode
	GetMaxHolders() int32
}) Key {
	key := Key(message.GetKey())
	if names := message.GetKeys(); len(names) > 0 {
		key = Together(names...)
	}
	if message.GetMode() == pb.LockMode_LOCK_MODE_SHARED {
		key = Shared(key)
	}
	if message.GetMaxHolders() != 0 {
		key = Semaphore(key, int(message.GetMaxHolders()))
	}
	return key
}

// Fields returns the fields `key` and `keys` of a message.
func (k Key) Fields() (key string, keys []string) {
	text := k.parts().names
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
