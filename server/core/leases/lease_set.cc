#include "server/core/leases/lease_set.h"

#include <utility>

#include "server/core/check.h"
#include "server/core/safeguard.h"

namespace redlock {
namespace {

// How many operations and leases Break(), End() and Recheck() handle before other work on the
// strand runs.
constexpr int kPortion = 64;
// How many releases are under way at the end of a stream: enough to fill the calls to the nodes,
// and so few that another client's step is soon sent. Without a bound, they would fill the
// concurrency limiter and the queues of the nodes.
constexpr std::size_t kReleasesAtOnce = 64;

bool Releases(StreamEnd end) {
  return !Has(Safeguard::kBrokenStreamExpires) || FateOf(end) == LeaseFate::kReleased;
}

}  // namespace

LeaseSet::LeaseSet(Shard& shard, Listener& listener, Source source,
                   std::shared_ptr<LeaseRecorder> recorder)
    : shard_(shard), listener_(&listener), source_(source), recorder_(std::move(recorder)) {}

void LeaseSet::Acquire(std::uint64_t id, HoldCommand command) {
  REDLOCK_DCHECK(shard_.scheduler().OnStrand());
  if (command.acquire.token.empty()) command.acquire.token = shard_.NewToken();
  command.acquire.source = source_;
  const auto [waiting, added] =
      waiting_.emplace(id, shard_.Hold(std::move(command), shared_from_this(), id));
  REDLOCK_CHECK(added);
}

void LeaseSet::OnQueued(std::uint64_t id, std::size_t position) {
  if (listener_ != nullptr) listener_->OnQueued(id, position);
}

void LeaseSet::OnDecided(std::uint64_t id, const AcquireResult& result) {
  const auto waited = waiting_.extract(id);
  REDLOCK_CHECK(!waited.empty());
  if (result.lease) {
    auto watchdog = waited.mapped()->TakeWatchdog();
    if (recorder_) recorder_->OnAcquired(result, watchdog->holding().owner);
    Keep(std::move(watchdog), LeaseOrigin::kAcquired, result.extended);
  }
  if (listener_ != nullptr) listener_->OnAcquired(id, result);
}

void LeaseSet::Cancel(std::uint64_t id) {
  REDLOCK_DCHECK(shard_.scheduler().OnStrand());
  const auto waiting = waiting_.find(id);
  if (waiting == waiting_.end()) return;
  const auto hold = waiting->second;  // OnDecided() takes it out
  hold->Cancel(Reason::kCancelled);
}

void LeaseSet::Adopt(std::uint64_t id, AdoptCommand command) {
  REDLOCK_DCHECK(shard_.scheduler().OnStrand());
  const std::uint64_t adoption = ++last_adoption_;
  ++adopting_[NameOf(command.key, command.token)].undecided;
  ExtendCommand extend{
      .key = command.key,
      .token = command.token,
      .ttl = command.ttl,
      .retry = {.max_retries = 0, .min_delay = {}, .max_jitter = {}},
      .deadline = std::nullopt,
      .raise_to = {},
      .keeper = Keeper{.number = command.sequence.value_or(0), .id = shard_.NewStreamId()},
      .adopt = command.sequence ? ExtendCommand::Adopt::kInSequence : ExtendCommand::Adopt::kAsLast,
      .downgrade_from = command.downgrade_from,
      .source = source_};
  shard_.Extend(std::move(extend),
                [self = shared_from_this(), id, adoption, command = std::move(command),
                 unanswered = unanswered_](const ExtendResult& result) {
                  self->OnAdopted(id, adoption, command, result, *unanswered);
                });
}

void LeaseSet::OnAdopted(std::uint64_t id, std::uint64_t adoption, const AdoptCommand& command,
                         const ExtendResult& result, const std::shared_ptr<void>& closing) {
  if (listener_ == nullptr) return;  // the stream has ended: the lease expires
  const LeaseName name = NameOf(command.key, command.token);
  const bool keeps = !IsOvertaken(name, adoption) && result.lease;
  if (ended_) {  // the client closes the stream: what belongs to it is released
    listener_->OnExtended(id, result);
    if (!keeps) return;
    left_.push_back({*result.lease,
                     {.key = result.lease->key,
                      .fence = result.lease->fence,
                      .owner = result.owner.label,
                      .since = std::nullopt}});
    ReleaseNext(StreamEnd::kClosed, closing);
    return;
  }
  if (keeps) {
    Keep(shard_.Watch({.key = result.lease->key,
                       .token = command.token,
                       .ttl = command.ttl,
                       .interval = command.interval,
                       .keep_watching_after_loss = false,
                       .max_lifetime = std::nullopt,
                       .held = result.lease,
                       .downgrade_from = command.downgrade_from,
                       .source = source_,
                       .owner = result.owner},
                      shared_from_this()),
         LeaseOrigin::kTakenOver, false);
  }
  listener_->OnExtended(id, result);
  // The adoption was under way, so a Recheck() in the meantime did not look at it.
  const auto held = held_.find(name);
  if (listener_ != nullptr && held != held_.end()) RecheckLease(held->watchdog);
}

bool LeaseSet::IsOvertaken(const LeaseName& name, std::uint64_t adoption) {
  const auto adopting = adopting_.find(name);
  REDLOCK_CHECK(adopting != adopting_.end());
  const bool overtaken = adoption <= adopting->second.last_overtaken;
  if (--adopting->second.undecided == 0) adopting_.erase(adopting);
  return overtaken;
}

// Replaces the watchdog if the set has the lease already: one is enough.
void LeaseSet::Keep(std::shared_ptr<Watchdog> watchdog, LeaseOrigin origin, bool found_held) {
  if (const auto before = Take(NameOf(watchdog->key(), watchdog->token()))) {
    before->watchdog->Detach();
  }
  held_.insert({std::move(watchdog), origin, found_held});
}

std::optional<LeaseSet::Kept> LeaseSet::Take(const LeaseName& name) {
  const auto found = held_.find(name);
  if (found == held_.end()) return std::nullopt;
  return std::move(held_.extract(found).value());
}

// The events name their lease, so that nothing is kept here for each of many leases.
void LeaseSet::OnWatchEvent(const WatchEvent& event) {
  if (recorder_) RecordLoss(event);
  if (!event.goes_on) OnEnded(NameOf(event.lease.key, event.lease.token), event);
  if (listener_ != nullptr) listener_->OnEvent(event.lease.key, event);
}

void LeaseSet::RecordLoss(const WatchEvent& event) {
  switch (event.type) {
    case WatchEvent::Type::kExtended:
    case WatchEvent::Type::kExtendFailed:
    case WatchEvent::Type::kReleased:  // recorded by the one who releases it
      return;
    case WatchEvent::Type::kLost:
    case WatchEvent::Type::kLifetimeEnded:
    case WatchEvent::Type::kDenied:
      break;
  }
  const auto found = held_.find(NameOf(event.lease.key, event.lease.token));
  if (found == held_.end()) return;
  recorder_->OnLost(found->watchdog->holding(), event.error, shard_.Now());
}

void LeaseSet::OnEnded(const LeaseName& name, const WatchEvent& event) {
  const auto ended = Take(name);
  if (!ended || event.type != WatchEvent::Type::kLost || Has(Safeguard::kLossExpires)) return;
  const Lease lease = ended->watchdog->lease();
  if (lease.keeper) shard_.ReleaseAtEndOf(lease, false, [](const ReleaseResult&) {});
}

void LeaseSet::Extend(std::uint64_t id, ExtendCommand command) {
  REDLOCK_DCHECK(shard_.scheduler().OnStrand());
  const LeaseName name = NameOf(command.key, command.token);
  const auto adopting = adopting_.find(name);
  if (adopting != adopting_.end() && command.downgrade_from.value != 0) {
    adopting->second.last_overtaken = last_adoption_;
  }
  const auto held = held_.find(name);
  if (held != held_.end()) {
    command.keeper = held->watchdog->lease().keeper;
    const bool is_exclusive = held->watchdog->key() != command.key;
    if (command.downgrade_from.value != 0 && is_exclusive) Downgrade(*held, command);
  }
  command.source = source_;
  extending_[id] = shard_.Extend(
      std::move(command),
      [self = shared_from_this(), id, name, unanswered = unanswered_](const ExtendResult& result) {
        self->extending_.erase(id);
        const auto found = self->held_.find(name);
        if (result.lease && found != self->held_.end()) {
          found->watchdog->Confirmed(*result.lease);
        }
        if (self->listener_ != nullptr) self->listener_->OnExtended(id, result);
      });
}

// The client no longer trusts the exclusive lease.
void LeaseSet::Downgrade(const Kept& kept, const ExtendCommand& command) {
  const Watchdog& exclusive = *kept.watchdog;
  Lease share = exclusive.lease();
  share.key = command.key;
  Keep(shard_.Watch({.key = command.key,
                     .token = command.token,
                     .ttl = exclusive.ttl(),
                     .interval = exclusive.interval(),
                     .keep_watching_after_loss = false,
                     .max_lifetime = std::nullopt,
                     .held = std::move(share),
                     .downgrade_from = command.downgrade_from,
                     .source = source_,
                     .owner = exclusive.owner(),
                     .since = exclusive.holding().since},
                    shared_from_this()),
       kept.origin, kept.found_held);
}

void LeaseSet::Release(std::uint64_t id, const Key& key, const OwnerToken& token,
                       Duration keep_for) {
  REDLOCK_DCHECK(shard_.scheduler().OnStrand());
  const auto known =
      recorder_ ? std::make_shared<const Holding>(shard_.HoldingOf(key, token)) : nullptr;
  const auto held = Take(NameOf(key, token));
  if (held) {
    held->watchdog->CountHold();
    held->watchdog->Detach();
  }
  // The request does not name the slot of a semaphore.
  shard_.Release(
      held ? held->watchdog->key() : key, token,
      [self = shared_from_this(), id, known,
       unanswered = unanswered_](const ReleaseResult& result) {
        if (known && !result.error) self->recorder_->OnReleased(*known, self->shard_.Now());
        if (self->listener_ != nullptr) self->listener_->OnReleased(id, result);
      },
      source_, keep_for);
}

void LeaseSet::GiveUp(std::uint64_t id, const GiveUpCommand& command) {
  REDLOCK_DCHECK(shard_.scheduler().OnStrand());
  if (!Has(Safeguard::kGiveUpNamesTheStream)) {
    Release(id, command.key, command.token);
    return;
  }
  const auto found = held_.find(NameOf(command.key, command.token));
  const bool has_it = found != held_.end() && found->watchdog->key().AnySlot() == command.key;
  if (!has_it) {
    RefuseToGiveUp(id);
    return;
  }
  const Kept kept = std::move(held_.extract(found).value());
  const Left left = kept.Detach();
  if (!kept.BelongsToStream(StreamEnd::kSilent)) {
    RefuseToGiveUp(id);
    return;
  }
  ReleaseLeft(
      left, false,
      [self = shared_from_this(), id, unanswered = unanswered_](const ReleaseResult& result) {
        if (self->listener_ != nullptr) self->listener_->OnReleased(id, result);
      });
}

void LeaseSet::ReleaseLeft(const Left& left, bool leave_delay,
                           std::function<void(const ReleaseResult&)> done) {
  shard_.ReleaseAtEndOf(left.lease, leave_delay,
                        [self = shared_from_this(), holding = left.holding,
                         done = std::move(done)](const ReleaseResult& result) {
                          if (!result.error) {
                            self->shard_.CountHold(holding);
                            if (self->recorder_)
                              self->recorder_->OnReleased(holding, self->shard_.Now());
                          }
                          done(result);
                        });
}

void LeaseSet::RefuseToGiveUp(std::uint64_t id) {
  if (listener_ == nullptr) return;
  listener_->OnReleased(id, {.error = Error{.reason = Reason::kLockNotHeld,
                                            .message = "this Session has no such lease to release"},
                             .votes = {}});
}

LeaseSet::Left LeaseSet::Kept::Detach() const {
  Left left{watchdog->lease(), watchdog->holding()};
  watchdog->Detach();
  return left;
}

bool LeaseSet::Kept::BelongsToStream(StreamEnd end) const {
  const bool may_be_elsewhere =
      end == StreamEnd::kSilent && found_held && Has(Safeguard::kFoundHeldExpires);
  return watchdog->lease().keeper && !may_be_elsewhere;
}

void LeaseSet::Watch(WatchCommand command) {
  REDLOCK_DCHECK(shard_.scheduler().OnStrand());
  command.source = source_;
  Keep(shard_.Watch(std::move(command), shared_from_this()), LeaseOrigin::kTakenOver, false);
}

void LeaseSet::Recheck() {
  REDLOCK_DCHECK(shard_.scheduler().OnStrand());
  if (listener_ == nullptr || ended_) return;  // nothing is extended any more
  const auto self = shared_from_this();        // the listener may end the stream
  unchecked_waiting_.clear();
  unchecked_held_.clear();
  for (const auto& [id, hold] : waiting_) unchecked_waiting_.push_back(id);
  for (const Kept& kept : held_) unchecked_held_.push_back(kept.watchdog);
  RecheckPortion();
}

void LeaseSet::RecheckPortion() {
  for (int i = 0; i < kPortion; ++i) {
    if (listener_ == nullptr || ended_) return;
    if (!unchecked_waiting_.empty()) {
      const std::uint64_t id = unchecked_waiting_.back();
      unchecked_waiting_.pop_back();
      RecheckAcquisition(id);
    } else if (!unchecked_held_.empty()) {
      const auto watchdog = std::move(unchecked_held_.back());
      unchecked_held_.pop_back();
      RecheckLease(watchdog);
    } else {
      return;
    }
  }
  portion_ = shard_.scheduler().After({}, [self = shared_from_this()] { self->RecheckPortion(); });
}

void LeaseSet::RecheckAcquisition(std::uint64_t id) {
  const auto waiting = waiting_.find(id);
  if (waiting == waiting_.end()) return;
  if (listener_->MayKeep(waiting->second->key(), LeaseOrigin::kAcquired)) return;
  waiting->second->Detach();
  waiting_.erase(waiting);
  listener_->OnAcquired(
      id, {.lease = std::nullopt,
           .error = {.reason = Reason::kPermissionDenied,
                     .message = "the access list no longer allows the caller to acquire the key"},
           .votes = {}});
}

// The lease may have ended, or may have got another watchdog, since Recheck() noted this one.
// It is a copy because the set may drop its own inside the call.
// NOLINTNEXTLINE(performance-unnecessary-value-param)
void LeaseSet::RecheckLease(std::shared_ptr<Watchdog> watchdog) {
  const auto held = held_.find(NameOf(watchdog->key(), watchdog->token()));
  if (held == held_.end() || held->watchdog != watchdog) return;
  if (!listener_->MayKeep(watchdog->key(), held->origin)) watchdog->OnDenied();
}

void LeaseSet::Break(bool until_silent) {
  REDLOCK_DCHECK(shard_.scheduler().OnStrand());
  if (!until_silent || !Has(Safeguard::kBrokenStreamExpires)) {
    End(StreamEnd::kBroken, [] {});
    return;
  }
  listener_ = nullptr;
  BreakPortion();
}

void LeaseSet::BreakPortion() {
  for (int i = 0; i < kPortion; ++i) {
    if (!GiveUpOrLeaveOne(StreamEnd::kSilent)) return;
  }
  portion_ = shard_.scheduler().After({}, [self = shared_from_this()] { self->BreakPortion(); });
}

// Returns false if neither an acquisition, an extension nor a lease that is extended is left.
bool LeaseSet::GiveUpOrLeaveOne(StreamEnd end) {
  if (!waiting_.empty()) {
    Cancel(waiting_.begin()->first);
    return true;
  }
  if (!extending_.empty()) {
    // An extension is retried for up to its TTL. Nobody waits for it any more, or the client waits
    // for the end of the stream.
    const auto extension = extending_.extract(extending_.begin()).mapped().lock();
    if (extension) extension->StopRetrying();
    return true;
  }
  if (held_.empty()) return false;
  const Kept kept = std::move(held_.extract(held_.begin()).value());
  Left left = kept.Detach();
  if (Releases(end) && kept.BelongsToStream(end)) left_.push_back(std::move(left));
  return true;
}

void LeaseSet::End(StreamEnd end, std::function<void()> done) {
  REDLOCK_DCHECK(shard_.scheduler().OnStrand());
  if (std::exchange(ended_, true)) return;
  // A client that closes its stream still gets the results of its earlier requests.
  if (end != StreamEnd::kClosed) listener_ = nullptr;
  portion_.Cancel();
  // The deleter runs when the last release, and the last operation that is still to be answered,
  // has dropped its reference.
  const auto ended =
      std::shared_ptr<void>(nullptr, [self = shared_from_this(), done = std::move(done)](void*) {
        self->listener_ = nullptr;
        done();
      });
  if (listener_ != nullptr) *unanswered_ = ended;
  unanswered_.reset();
  EndPortion(end, ended);
}

void LeaseSet::EndPortion(StreamEnd end, const std::shared_ptr<void>& done) {
  bool more = true;
  for (int i = 0; i < kPortion && more; ++i) {
    if (!Releases(end) && !left_.empty()) {  // from before Break()
      left_.pop_front();
    } else {
      more = GiveUpOrLeaveOne(end);
    }
  }
  if (Releases(end)) ReleaseNext(end, done);
  if (!more) return;
  portion_ = shard_.scheduler().After(
      {}, [self = shared_from_this(), end, done] { self->EndPortion(end, done); });
}

void LeaseSet::ReleaseNext(StreamEnd end, const std::shared_ptr<void>& done) {
  while (releasing_ < kReleasesAtOnce && !left_.empty()) {
    const Left left = std::move(left_.front());
    left_.pop_front();
    ++releasing_;
    ReleaseLeft(left, end == StreamEnd::kSilent && Has(Safeguard::kSilenceLeavesDelay),
                [self = shared_from_this(), end, done](const ReleaseResult&) {
                  --self->releasing_;
                  self->ReleaseNext(end, done);
                });
  }
}

}  // namespace redlock
