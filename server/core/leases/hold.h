// A lock that is waited for, acquired, and then extended for as long as somebody wants it.
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
  // From the acquisition on. The TTLs are cut so that the lock expires at its end.
  std::optional<Duration> max_lifetime;
};

struct HoldEvents {
  AcquireDone decided;  // once; on failure that is all
  WatchEvents watched;  // afterwards, as of a watchdog
};

class HoldOperation final : public std::enable_shared_from_this<HoldOperation> {
 public:
  // Events come one by one, never inside this call. The command has a token.
  static std::shared_ptr<HoldOperation> Start(const Environment& env, OperationRegistry& registry,
                                              WaitQueues& queues, WatchdogIndex& index,
                                              HoldCommand command, HoldEvents events,
                                              std::optional<Error> refusal);

  // What is held expires, or somebody else watches it. A wait is given up. No event comes any more.
  void Detach();
  // Once acquired: the watchdog, which is all that is needed from then on. Only it is to be
  // detached then, not this.
  [[nodiscard]] std::shared_ptr<Watchdog> TakeWatchdog() { return std::move(watchdog_); }

 private:
  HoldOperation(const Environment& env, OperationRegistry& registry, WatchdogIndex& index,
                const HoldCommand& command, HoldEvents events);
  void OnDecided(AcquireResult result);

  const Environment& env_;
  OperationRegistry& registry_;
  WatchdogIndex& index_;
  const Duration ttl_;
  const Duration interval_;
  const std::optional<Duration> max_lifetime_;
  const Source source_;
  HoldEvents events_;
  std::shared_ptr<Acquisition> acquisition_;  // until it is decided
  std::shared_ptr<Watchdog> watchdog_;        // from then on
};

}  // namespace redlock
