#include "server/core/leases/hold.h"

#include <algorithm>
#include <utility>

#include "server/core/check.h"

namespace redlock {
namespace {

constexpr Duration kShortestTtl = std::chrono::milliseconds(10);

}  // namespace

std::shared_ptr<HoldOperation> HoldOperation::Start(const Environment& env, Keys& keys,
                                                    WatchdogIndex& index, HoldCommand command,
                                                    std::shared_ptr<HoldListener> listener,
                                                    std::uint64_t id,
                                                    std::optional<Error> refusal) {
  if (command.max_lifetime) {
    const Duration longest = TtlFor(*command.max_lifetime, env.options.drift);
    command.acquire.ttl = std::max(std::min(command.acquire.ttl, longest), kShortestTtl);
    command.interval = std::min(command.interval, command.acquire.ttl / 2);
  }
  auto self = std::make_shared<HoldOperation>(Passkey<HoldOperation>(), env, index, command,
                                              std::move(listener), id);
  command.acquire.queued = [raw = self.get()](std::size_t position) {
    if (const auto told = raw->listener_) told->OnQueued(raw->id_, position);
  };
  self->acquisition_ = Acquisition::Start(
      env, keys, std::move(command.acquire),
      [self](AcquireResult result) { self->OnDecided(std::move(result)); }, std::move(refusal));
  return self;
}

HoldOperation::HoldOperation(Passkey<HoldOperation> /*key*/, const Environment& env,
                             WatchdogIndex& index, const HoldCommand& command,
                             std::shared_ptr<HoldListener> listener, std::uint64_t id)
    : env_(env),
      index_(index),
      interval_(command.interval),
      max_lifetime_(command.max_lifetime),
      listener_(std::move(listener)),
      id_(id) {}

void HoldOperation::OnDecided(AcquireResult result) {
  const auto acquisition = std::exchange(acquisition_, nullptr);
  const auto listener = std::exchange(listener_, nullptr);
  if (result.lease && listener) {
    REDLOCK_CHECK(acquisition != nullptr);
    const AcquireCommand& command = acquisition->command();
    // If the token held the key before, the nodes know who acquired it and when.
    Owner owner = result.extended ? Owner() : command.owner;
    if (!owner.empty()) owner.since = env_.scheduler.WallNow().time_since_epoch();
    watchdog_ = Watchdog::Start(
        env_, index_,
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
        listener);
  }
  if (listener) listener->OnDecided(id_, result);
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
  listener_ = nullptr;
  if (const auto acquisition = std::exchange(acquisition_, nullptr)) {
    acquisition->Cancel(Reason::kCancelled);
  }
  if (const auto watchdog = std::exchange(watchdog_, nullptr)) watchdog->Detach();
}

}  // namespace redlock
