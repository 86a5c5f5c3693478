// Acquires a lock and then keeps extending it until it is released or given up. Strand-confined.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "server/core/keys/acquisition.h"
#include "server/core/leases/watchdog.h"

namespace redlock {

struct HoldCommand {
  AcquireCommand acquire;
  Duration interval{};  // between extensions; less than the TTL
  // Counted from the acquisition. TTLs are cut so that the lock expires at the end of the lifetime.
  std::optional<Duration> max_lifetime;
};

struct HoldEvents {
  AcquireDone decided;  // once; on failure, no event follows
  WatchEvents watched;  // afterwards, as from a watchdog
};

class HoldOperation final : public std::enable_shared_from_this<HoldOperation> {
 public:
  // Events arrive one at a time. The command must have a token.
  static std::shared_ptr<HoldOperation> Start(const Environment& env, OperationRegistry& registry,
                                              Keys& keys, WatchdogIndex& index, HoldCommand command,
                                              HoldEvents events, std::optional<Error> refusal);

  // Cancels a pending acquisition; `decided` is called inside this call.
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
  HoldOperation(const Environment& env, OperationRegistry& registry, WatchdogIndex& index,
                const HoldCommand& command, HoldEvents events);
  void OnDecided(AcquireResult result);

  const Environment& env_;
  OperationRegistry& registry_;
  WatchdogIndex& index_;
  const Duration interval_;
  const std::optional<Duration> max_lifetime_;
  HoldEvents events_;
  std::shared_ptr<Acquisition> acquisition_;  // until it is decided
  std::shared_ptr<Watchdog> watchdog_;        // from then on
};

}  // namespace redlock
