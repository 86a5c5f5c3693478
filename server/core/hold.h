// A lock that lives as long as somebody wants it: waited for, taken, kept alive, and released when
// they go away.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "server/core/acquisition.h"
#include "server/core/watchdog.h"

namespace redlock {

struct HoldCommand {
  AcquireCommand acquire;
  Duration interval{};                   // between extensions; less than the TTL
  std::optional<Duration> max_lifetime;  // from the acquisition on
};

struct HoldEvents {
  AcquireDone decided;  // once; on failure that is all
  WatchEvents watched;  // afterwards, as of a watchdog
};

class HoldOperation final : public Operation, public std::enable_shared_from_this<HoldOperation> {
 public:
  // Events come one by one, never inside this call. The command has a token.
  static std::shared_ptr<HoldOperation> Start(const Environment& env, OperationRegistry& registry,
                                              WaitQueues& queues, Releaser& releaser,
                                              HoldCommand command, HoldEvents events);

  // The client has gone: what it waits for is given up, what it holds is released. No event comes
  // any more.
  void Cancel(Reason why) override;
  // What is held stays with whoever watches it from now on. A wait is given up.
  void LetGo();
  // Once acquired: the watchdog, which is all that is needed from then on. Only it is to be
  // cancelled or let go then, not this.
  [[nodiscard]] std::shared_ptr<Watchdog> TakeWatchdog() { return std::move(watchdog_); }

 private:
  HoldOperation(const Environment& env, OperationRegistry& registry, Releaser& releaser,
                const HoldCommand& command, HoldEvents events);
  void OnDecided(AcquireResult result);

  const Environment& env_;
  OperationRegistry& registry_;
  Releaser& releaser_;
  const Duration ttl_;
  const Duration interval_;
  const std::optional<Duration> max_lifetime_;
  HoldEvents events_;
  std::shared_ptr<Acquisition> acquisition_;  // until it is decided
  std::shared_ptr<Watchdog> watchdog_;        // from then on
};

}  // namespace redlock
