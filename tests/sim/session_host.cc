#include "tests/sim/session_host.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "client/cpp/core/keys.h"

namespace redlock::sim {
namespace {

client::Reason ToClient(Reason reason) {
  switch (reason) {
    case Reason::kLockAlreadyHeld:
      return client::Reason::kLockAlreadyHeld;
    case Reason::kMaxRetriesExceeded:
      return client::Reason::kMaxRetriesExceeded;
    case Reason::kValidityExpired:
      return client::Reason::kValidityExpired;
    case Reason::kLockNotHeld:
      return client::Reason::kLockNotHeld;
    case Reason::kNodeSetMismatch:
      return client::Reason::kNodeSetMismatch;
    case Reason::kQuorumUnavailable:
      return client::Reason::kQuorumUnavailable;
    case Reason::kDraining:
      return client::Reason::kDraining;
    case Reason::kOverloaded:
      return client::Reason::kOverloaded;
    case Reason::kDeadlineExceeded:
      return client::Reason::kDeadlineExceeded;
    case Reason::kCancelled:
      return client::Reason::kCancelled;
    case Reason::kPermissionDenied:
      return client::Reason::kPermissionDenied;
    case Reason::kKindMismatch:
      return client::Reason::kKindMismatch;
  }
  return client::Reason::kInternal;
}

client::Error ToClient(const Error& error) {
  return {ToClient(error.reason), error.message, error.retry_after};
}

Key ToCore(const std::string& key) {
  const Key core = Key::Of(client::NamesOf(key));
  if (client::IsSemaphore(key)) return core.Slot(client::LimitOf(key), client::SlotOf(key));
  return client::IsShared(key) ? core.Shared() : core;
}

std::string ToClient(const Key& key) {
  std::vector<std::string> names;
  key.ForEach([&names](std::string_view name) { names.emplace_back(name); });
  if (key.IsSemaphore()) return client::semaphore(names.front(), key.limit(), key.slot());
  std::string all = client::together(std::move(names));
  return key.IsShared() ? client::shared(all) : all;
}

client::Grant ToClient(const Lease& lease) {
  return {.token = lease.token.str(),
          .fencing_token = lease.fence.value,
          .validity = {},
          .slot = lease.key.slot()};
}

}  // namespace

SessionHost::SessionHost(Shard& shard, Send send, Over over)
    : shard_(shard),
      send_(std::move(send)),
      over_(std::move(over)),
      leases_(std::make_shared<LeaseSet>(shard, *this, Source{})) {}

void SessionHost::OnMessage(const client::Request& request) {
  if (closed_) return;
  if (silence_) silence_->OnRead();
  if (request.disconnect_grace) {
    silence_.emplace(shard_.scheduler(), *request.disconnect_grace,
                     [this] { End(StreamEnd::kSilent); });
  }
  for (const client::OperationMessage& operation : request.operations) {
    if (!closed_) Do(operation);
  }
}

void SessionHost::Do(const client::OperationMessage& operation) {
  const std::uint64_t id = operation.id;
  if (const auto* acquire = std::get_if<client::AcquireRequest>(&operation.body)) {
    HoldCommand command;
    command.acquire.key = ToCore(acquire->key);
    command.acquire.token = OwnerToken(acquire->token);
    command.acquire.ttl = acquire->ttl;
    command.acquire.extend_if_held = acquire->extend_if_held;
    if (acquire->retry) command.acquire.retry.max_retries = acquire->retry->max_retries;
    command.interval = acquire->ttl / 2;
    leases_->Acquire(id, std::move(command));
  } else if (const auto* extend = std::get_if<client::ExtendRequest>(&operation.body)) {
    leases_->Extend(id, {.key = ToCore(extend->key),
                         .token = OwnerToken(extend->token),
                         .ttl = extend->ttl,
                         .retry = {},
                         .deadline = std::nullopt,
                         .raise_to = {},
                         .downgrade_from = {extend->downgrade_from}});
  } else if (const auto* release = std::get_if<client::ReleaseRequest>(&operation.body)) {
    leases_->Release(id, ToCore(release->key), OwnerToken(release->token));
  } else if (const auto* adopt = std::get_if<client::AdoptRequest>(&operation.body)) {
    leases_->Adopt(id, {.key = ToCore(adopt->key),
                        .token = OwnerToken(adopt->token),
                        .ttl = adopt->ttl,
                        .interval = adopt->ttl / 2,
                        .sequence = adopt->sequence,
                        .downgrade_from = {adopt->downgrade_from}});
  } else if (const auto* give_up = std::get_if<client::GiveUpRequest>(&operation.body)) {
    leases_->GiveUp(id, {ToCore(give_up->key), OwnerToken(give_up->token)});
  } else if (std::holds_alternative<client::CancelRequest>(operation.body)) {
    leases_->Cancel(id);
  } else if (std::holds_alternative<client::PingRequest>(operation.body)) {
    Add(id, std::nullopt, std::nullopt);
  } else {
    silence_.reset();
    leases_->End(StreamEnd::kClosed, [this, id] {
      Add(id, std::nullopt, std::nullopt);
      Flush();
      closed_ = true;
      over_();
    });
  }
}

void SessionHost::OnBroken() {
  if (std::exchange(closed_, true)) return;
  flush_.Cancel();
  over_();
  leases_->Break(silence_.has_value());
}

void SessionHost::Drain() {
  if (closed_) return;
  pending_.events.push_back(
      {.type = client::EventType::kDraining, .key = {}, .grant = {}, .error = {}});
  events_until_.emplace_back();
  FlushSoon();
}

void SessionHost::End(StreamEnd end) {
  leases_->End(end, [] {});
  flush_.Cancel();
  if (!std::exchange(closed_, true)) over_();
  // Not inside the timer's own callback.
  flush_ = shard_.scheduler().After({}, [this] { silence_.reset(); });
}

void SessionHost::Add(std::uint64_t id, const std::optional<Lease>& lease,
                      const std::optional<Error>& error) {
  client::Answer answer{.id = id, .grant = {}, .error = {}};
  if (lease) answer.grant = ToClient(*lease);
  if (error) answer.error = ToClient(*error);
  pending_.answers.push_back(std::move(answer));
  answers_until_.push_back(lease ? std::optional(lease->valid_until) : std::nullopt);
  FlushSoon();
}

void SessionHost::OnAcquired(std::uint64_t id, const AcquireResult& result) {
  Add(id, result.lease, result.lease ? std::nullopt : std::optional(result.error));
}

void SessionHost::OnQueued(std::uint64_t id, std::size_t position) {
  pending_.positions.push_back({.id = id, .position = static_cast<int>(position)});
  FlushSoon();
}

void SessionHost::OnExtended(std::uint64_t id, const ExtendResult& result) {
  Add(id, result.lease, result.lease ? std::nullopt : std::optional(result.error));
}

void SessionHost::OnReleased(std::uint64_t id, const ReleaseResult& result) {
  Add(id, std::nullopt, result.error);
}

void SessionHost::OnEvent(const Key& key, const WatchEvent& event) {
  client::Event out{.type = client::EventType::kLost,
                    .key = ToClient(key),
                    .grant = ToClient(event.lease),
                    .error = ToClient(event.error)};
  std::optional<MonotonicTime> until;
  switch (event.type) {
    case WatchEvent::Type::kExtended:
      out.type = client::EventType::kExtended;
      until = event.lease.valid_until;
      break;
    case WatchEvent::Type::kExtendFailed:
      out.type = client::EventType::kExtendFailed;
      out.grant.reset();
      break;
    case WatchEvent::Type::kLost:
    case WatchEvent::Type::kLifetimeEnded:
    case WatchEvent::Type::kReleased:
    case WatchEvent::Type::kDenied:
      break;
  }
  pending_.events.push_back(std::move(out));
  events_until_.push_back(until);
  FlushSoon();
}

void SessionHost::FlushSoon() {
  if (closed_) return;
  flush_ = shard_.scheduler().After({}, [this] { Flush(); });
}

// Validities count from the time at which the message is sent.
void SessionHost::Flush() {
  if (closed_) return;
  const MonotonicTime now = shard_.Now();
  pending_.clock = now.time_since_epoch();
  for (std::size_t i = 0; i < pending_.answers.size(); ++i) {
    if (answers_until_[i]) pending_.answers[i].grant->validity = *answers_until_[i] - now;
  }
  for (std::size_t i = 0; i < pending_.events.size(); ++i) {
    if (events_until_[i]) pending_.events[i].grant->validity = *events_until_[i] - now;
  }
  answers_until_.clear();
  events_until_.clear();
  send_(std::exchange(pending_, {}));
}

}  // namespace redlock::sim
