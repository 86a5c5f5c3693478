// A lock that the client keeps alive.
#pragma once

#include <redlock/options.h>
#include <redlock/result.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace redlock::client {

class Driver;
struct HeldLease;

// A held lock. Thread-safe, except for moves and the destructor. The destructor releases it in the
// background, without blocking. Movable; a moved-from object holds nothing and may only be
// destroyed or assigned to.
class [[nodiscard]] REDLOCK_API Lock {
 public:
  Lock(Lock&&) noexcept;
  Lock& operator=(Lock&&) noexcept;
  ~Lock();

  // Can be passed on, for example to Client::adopt(). Of several keys, or of a share: see
  // redlock/keys.h.
  [[nodiscard]] const std::string& key() const;
  // The keys that are locked, in byte order; also if it is one.
  [[nodiscard]] std::vector<std::string> keys() const;
  // Whether it is a share of the keys: see shared() in redlock/keys.h.
  [[nodiscard]] bool shared() const;
  // Of a semaphore: its limit, and the slot, from 1 to max_holders(). No other holder has the same
  // slot at the same time. 0 if it is a lock.
  [[nodiscard]] int max_holders() const;
  [[nodiscard]] int slot() const;
  // The owner token, the secret that proves ownership. With it, another process can extend or
  // release the lock.
  [[nodiscard]] const std::string& token() const;
  // Higher than the fencing token of every earlier holder. Pass it to the storage that the lock
  // protects. It may grow while the lock is held.
  [[nodiscard]] std::uint64_t fencing_token() const;
  // How long the lock can be trusted if no further message arrives; 0 once the lock is lost or
  // released. The daemon keeps extending the lock.
  [[nodiscard]] Duration validity() const;
  [[nodiscard]] bool held() const { return validity() > Duration::zero(); }
  // Fires when the lock is lost or about to be lost (AcquireOptions::margin), and when the client
  // is destroyed; not on release. The work that the lock protects must stop then. A
  // std::stop_callback on it runs on one of the library's threads and must not throw: the C++
  // standard ends the program if it does.
  [[nodiscard]] std::stop_token lost() const;
  // Like validity(), but also valid after lost() has fired: how long no other client can hold the
  // lock yet. Zero if the daemon has reported the loss.
  [[nodiscard]] Duration time_to_stop() const;
  // Why the lock was lost; std::nullopt if it was not lost.
  [[nodiscard]] std::optional<Error> loss() const;

  // Downgrades an exclusive lock to a share: other holders may share the key from then on, and
  // nobody else holds it exclusively in between. Returns the share, a new lock. This lock counts as
  // released from the beginning of the call, so its work must have stopped. Waits at most for as
  // long as this lock was valid. Fails with kInvalidArgument, and leaves the lock as it is, if it
  // is a share or a slot of a semaphore, or while another call requests the key with the same
  // token. After any other failure, no lock is left behind: unless the error is kLockNotHeld, the
  // lock is released in the background, and a token that the caller gave must not be used again.
  Result<Lock> downgrade();

  // Releases the lock and waits for the answer, at most 2 s; after that, the release continues in
  // the background. Fails with kLockNotHeld if the lock was lost before. A second release does
  // nothing and succeeds. An invalid option fails with kInvalidArgument, and the lock stays held.
  Result<void> release(const ReleaseOptions& options = {});
  // Extends the lock to at least `ttl` from now. Rarely needed: the daemon keeps extending the lock
  // by the TTL of the acquisition. An extension never shortens the validity.
  // The daemon retries a round that it cannot decide for as long as `ttl`.
  Result<void> extend(Duration ttl);
  // The same in a single round: fails with kQuorumUnavailable if the round cannot be decided.
  Result<void> try_extend(Duration ttl);
  // Replaces the value that the lock publishes (AcquireOptions::value). Repeated at other daemons
  // while the outcome is unknown, at most for as long as the lock was valid when the call began.
  // Fails with kLockNotHeld if the lock is lost or released. After any other error, observers may
  // or may not see the new value, now or later.
  Result<void> proclaim(const std::string& value);

 private:
  friend class Client;
  friend class Election;
  Lock(std::shared_ptr<Driver> driver, std::shared_ptr<HeldLease> lease);
  void Drop();

  std::shared_ptr<Driver> driver_;
  std::shared_ptr<HeldLease> lease_;
};

}  // namespace redlock::client
