// A lock that nobody keeps alive: it ends when its TTL has passed, also if this process lives on,
// and it outlives this process.
#pragma once

#include <redlock/result.h>

#include <cstdint>
#include <string>
#include <vector>

namespace redlock::client {

// A plain value. To hand the lock to another process, send it keys(), shared(), max_holders() and
// `token`. There, pass together(keys), within shared() if it is a share, or semaphore(key,
// max_holders) if it is a slot, to Client::adopt(), which keeps the lock alive, or to
// Client::extend() and release(), which use it as it is. From then on, only one of the
// two processes may trust the lock.
struct REDLOCK_API Lease {
  std::string key;    // of several keys, a share or a slot: see redlock/keys.h
  std::string token;  // the secret that proves ownership: do not log it
  // Higher than the fencing token of every earlier holder. May grow with an extension.
  std::uint64_t fencing_token = 0;
  // When the lock can no longer be trusted, on CLOCK_BOOTTIME of this machine, which counts suspend
  // time.
  Duration valid_until{};

  // The keys that are locked, in byte order; also if it is one.
  [[nodiscard]] std::vector<std::string> keys() const;
  // Whether it is a share of the keys: see shared() in redlock/keys.h.
  [[nodiscard]] bool shared() const;
  // Of a semaphore: its limit, and the slot, from 1 to max_holders(). 0 if it is a lock.
  [[nodiscard]] int max_holders() const;
  [[nodiscard]] int slot() const;
  // How long the lock can still be trusted; 0: no longer.
  [[nodiscard]] Duration validity() const;
  [[nodiscard]] bool valid() const { return validity() > Duration::zero(); }
};

}  // namespace redlock::client
