// Acquires a lock and then keeps extending it until it is released or given up. Strand-confined.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "server/core/keys/acquisition.h"
#include "server/core/leases/watchdog.h"
#include "server/core/passkey.h"

namespace redlock {

struct HoldCommand {
  AcquireCommand acquire;
  Duration interval{};  // between extensions; less than the TTL
  // Counted from the acquisition. TTLs are cut so that the lock expires at the end of the lifetime.
  std::optional<Duration> max_lifetime;
};

// Receives what becomes of holds. Strand-confined.
class HoldListener : public WatchListener {
 public:
  // Once for each hold; if it failed, no event follows. Afterwards, the events of the watchdog.
  virtual void OnDecided(std::uint64_t id, const AcquireResult& result) = 0;
  // The number of waiters ahead, see AcquireCommand::queued.
  virtual void OnQueued(std::uint64_t id, std::size_t position) = 0;
};

class HoldOperation final : public std::enable_shared_from_this<HoldOperation> {
 public:
  // The listener hears of one thing at a time, never inside this call, and is kept until the last
  // one. `id` is for the listener only. The command must have a token; its `queued` is not used.
  static std::shared_ptr<HoldOperation> Start(const Environment& env, Keys& keys,
                                              WatchdogIndex& index, HoldCommand command,
                                              std::shared_ptr<HoldListener> listener,
                                              std::uint64_t id, std::optional<Error> refusal);
  HoldOperation(Passkey<HoldOperation> key, const Environment& env, WatchdogIndex& index,
                const HoldCommand& command, std::shared_ptr<HoldListener> listener,
                std::uint64_t id);

  // Cancels a pending acquisition; the listener hears of it inside this call.
  void Cancel(Reason why);
  // Gives up a pending acquisition. A held lease is left to expire, or another watchdog extends it.
  // No event follows.
  void Detach();
  // The key of a pending acquisition.
  [[nodiscard]] const Key& key() const;
  // After the acquisition, takes the watchdog out of this object, which is then no longer needed.
  // Detach only the watchdog from then on.
  [[nodiscard]] std::shared_ptr<Watchdog> TakeWatchdog() { return std::move(watchdog_); }

 private:
  void OnDecided(AcquireResult result);

  const Environment& env_;
  WatchdogIndex& index_;
  const Duration interval_;
  const std::optional<Duration> max_lifetime_;
  std::shared_ptr<HoldListener> listener_;  // until the acquisition is decided
  const std::uint64_t id_;
  std::shared_ptr<Acquisition> acquisition_;  // until it is decided
  std::shared_ptr<Watchdog> watchdog_;        // from then on
};

}  // namespace redlock
