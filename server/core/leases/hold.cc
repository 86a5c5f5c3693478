#include "server/core/leases/hold.h"

#include <algorithm>
#include <utility>

#include "server/core/check.h"

namespace redlock {
namespace {

constexpr Duration kShortestTtl = std::chrono::milliseconds(10);

}  // namespace

std::shared_ptr<HoldOperation> HoldOperation::Start(const Environment& env,
                                                    OperationRegistry& registry, Keys& keys,
                                                    WatchdogIndex& index, HoldCommand command,
                                                    HoldEvents events,
                                                    std::optional<Error> refusal) {
  if (command.max_lifetime) {
    const Duration longest = TtlFor(*command.max_lifetime, env.options.drift);
    command.acquire.ttl = std::max(std::min(command.acquire.ttl, longest), kShortestTtl);
    command.interval = std::min(command.interval, command.acquire.ttl / 2);
  }
  std::shared_ptr<HoldOperation> self(
      new HoldOperation(env, registry, index, command, std::move(events)));
  self->acquisition_ = Acquisition::Start(
      env, registry, keys, std::move(command.acquire),
      [self](AcquireResult result) { self->OnDecided(std::move(result)); }, std::move(refusal));
  return self;
}

HoldOperation::HoldOperation(const Environment& env, OperationRegistry& registry,
                             WatchdogIndex& index, const HoldCommand& command, HoldEvents events)
    : env_(env),
      registry_(registry),
      index_(index),
      interval_(command.interval),
      max_lifetime_(command.max_lifetime),
      events_(std::move(events)) {}

void HoldOperation::OnDecided(AcquireResult result) {
  const auto acquisition = std::exchange(acquisition_, nullptr);
  const auto decided = std::exchange(events_.decided, nullptr);
  if (result.lease && events_.watched) {
    REDLOCK_CHECK(acquisition != nullptr);
    const AcquireCommand& command = acquisition->command();
    // If the token held the key before, the nodes know who acquired it and when.
    Owner owner = result.extended ? Owner() : command.owner;
    if (!owner.empty()) owner.since = env_.scheduler.WallNow().time_since_epoch();
    watchdog_ = Watchdog::Start(
        env_, registry_, index_,
        {.key = result.lease->key,
         .token = result.lease->token,
         .ttl = command.ttl,
         .interval = interval_,
         .keep_watching_after_loss = false,
         .max_lifetime = max_lifetime_,
         .held = result.lease,
         .source = command.source,
         .owner = std::move(owner),
         .since = result.extended ? std::nullopt : std::optional(env_.scheduler.Now())},
        std::exchange(events_.watched, nullptr));
  }
  if (decided) decided(std::move(result));
}

const Key& HoldOperation::key() const {
  REDLOCK_CHECK(acquisition_ != nullptr);
  return acquisition_->command().key;
}

void HoldOperation::Cancel(Reason why) {
  if (const auto acquisition = acquisition_) acquisition->Cancel(why);
}

void HoldOperation::Detach() {
  const auto self = shared_from_this();
  events_ = {};
  if (const auto acquisition = std::exchange(acquisition_, nullptr)) {
    acquisition->Cancel(Reason::kCancelled);
  }
  if (const auto watchdog = std::exchange(watchdog_, nullptr)) watchdog->Detach();
}

}  // namespace redlock
