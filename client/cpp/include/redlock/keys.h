// Several keys that are locked together, all at once or not at all, keys that are shared, and
// semaphores.
//
//   auto lock = client.acquire(redlock::client::together({"stock/7", "account/3"}));
//   auto reader = client.acquire(redlock::client::shared("catalog"));
//   auto slot = client.acquire(redlock::client::semaphore("exports", 5));
//
// Nobody holds only a part of them, so that acquisitions of several keys cannot deadlock. They have
// one token, one TTL, and one fencing token. The loss of one key is the loss of the lock.
#pragma once

#include <redlock/result.h>

#include <string>
#include <vector>

namespace redlock::client {

// Returns a key that stands for all of `keys`, to be passed wherever a key is expected. The order
// does not matter. From 2 to 64 different keys, of at most 8 KiB together; one key stands for
// itself. Never fails: a call that gets bad keys fails with kInvalidArgument. The result is opaque,
// and not for display: use Lock::keys(), Lease::keys() or WatchEvent::keys().
[[nodiscard]] REDLOCK_API std::string together(std::vector<std::string> keys);

// Returns a key that stands for a share of `key`, to be passed wherever a key is expected. Any
// number of holders share a key, and nobody holds it exclusively meanwhile: they are the readers of
// a readers-writer lock. `key` may come from together(). The mode belongs to the lock: an extension
// or adoption of a share needs shared(key), too. The result is opaque, like that of together().
[[nodiscard]] REDLOCK_API std::string shared(const std::string& key);

// Returns a key that stands for a slot of a semaphore, to be passed wherever a key is expected: at
// most `max_holders` holders, from 2 to 64, have a slot of `key` at the same time. `key` is a
// single one. Everyone must name the same number: while the key is in use with another one, or as a
// lock, an acquisition fails with kKindMismatch. An acquisition takes any slot that is free, and
// the lock or lease tells its slot(). With `slot`, an extension or adoption by a token fails if the
// token has another slot. The result is opaque, like that of together().
[[nodiscard]] REDLOCK_API std::string semaphore(const std::string& key, int max_holders,
                                                int slot = 0);

}  // namespace redlock::client
