#include "server/core/shard.h"

#include <algorithm>
#include <utility>

#include "server/core/check.h"

namespace redlock {
namespace {

Error Refused(Reason reason, std::string message, Duration retry_after = {}) {
  return {.reason = reason, .message = std::move(message), .retry_after = retry_after};
}

LeaseListing ListingOf(const Acquisition& waiter, std::size_t position) {
  return {.key = waiter.command().key,
          .kind = LeaseListing::Kind::kWaiting,
          .position = position,
          .owner = waiter.command().owner,
          .fence = {},
          .waited = waiter.waited()};
}

NodeReports CountingQuarantines(NodeReports reports, Statistics& statistics) {
  reports.guard = [&statistics, report = std::move(reports.guard)](NodeIndex node, bool barred,
                                                                   const std::string& what) {
    if (barred) ++statistics.nodes[node].quarantines;
    if (report) report(node, barred, what);
  };
  return reports;
}

}  // namespace

Shard::Shard(Scheduler& scheduler, Random& random, std::function<OwnerToken()> new_token,
             const LockOptions& options, std::vector<std::unique_ptr<Node>> nodes,
             NodeReports reports)
    : options_(options),
      statistics_(nodes.size(), options.key_groups.size()),
      limiter_(scheduler, options.max_concurrent_rounds),
      watchdogs_(options.key_groups.size()),
      nodes_(scheduler, random, options_, std::move(nodes),
             CountingQuarantines(std::move(reports), statistics_)),
      keys_(env_),
      env_{scheduler,
           random,
           std::move(new_token),
           nodes_.all(),
           nodes_.set(),
           fences_,
           registry_,
           limiter_,
           statistics_,
           releasing_,
           losses_,
           options_,
           [this] { return Outage(); }} {
  for (Node* node : env_.nodes) node->ListenTo(&keys_);
}

Shard::~Shard() {
  limiter_.Close();
  for (Node* node : env_.nodes) node->ListenTo(nullptr);
  keys_.ForgetCallers();  // before the waiters and the nodes go
  registry_.Clear();      // operations refer to the other members
  nodes_.Clear();         // so do the sinks in the nodes
}

std::optional<Error> Shard::Outage() const {
  const Membership* const membership = nodes_.membership();
  if (membership != nullptr) {
    if (auto outage = membership->Outage()) return outage;
  }
  return heard_outage_;
}

std::optional<Error> Shard::Refusal(const AcquireCommand& command) const {
  if (draining_) return Refused(Reason::kDraining, "the daemon is shutting down");
  // The token may hold the lock already, and such a request is not refused because of load. If the
  // daemon is full, the request is not queued (see Acquisition::Queue).
  if (command.extend_if_held) return std::nullopt;
  if (registry_.size() >= options_.max_operations) {
    return Refused(Reason::kOverloaded,
                   "too many operations in progress at this daemon: retry later");
  }
  const Duration wait = limiter_.PredictedWait(command.source);
  const auto in_time = command.deadline
                           ? std::min(options_.max_queue_time, *command.deadline - Now())
                           : options_.max_queue_time;
  if (wait <= in_time) return std::nullopt;
  return Refused(Reason::kOverloaded,
                 "too many acquisitions are queued at this daemon: retry later", wait);
}

std::shared_ptr<Cancellable> Shard::Acquire(AcquireCommand command, AcquireDone done) {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  auto refusal = Refusal(command);
  if (command.token.empty()) command.token = env_.new_token();
  return Acquisition::Start(env_, keys_, std::move(command), std::move(done), std::move(refusal));
}

std::shared_ptr<Extension> Shard::Extend(ExtendCommand command, ExtendDone done) {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  return Extension::Start(env_, std::move(command), std::move(done));
}

std::shared_ptr<HoldOperation> Shard::Hold(HoldCommand command,
                                           std::shared_ptr<HoldListener> listener,
                                           std::uint64_t id) {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  auto refusal = Refusal(command.acquire);
  if (command.acquire.token.empty()) command.acquire.token = env_.new_token();
  return HoldOperation::Start(env_, keys_, watchdogs_, std::move(command), std::move(listener), id,
                              std::move(refusal));
}

std::shared_ptr<Watchdog> Shard::Watch(WatchCommand command,
                                       std::shared_ptr<WatchListener> listener) {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  return Watchdog::Start(env_, watchdogs_, std::move(command), std::move(listener));
}

void Shard::Release(const Key& key, const OwnerToken& token, ReleaseDone done, Source source,
                    Duration keep_for) {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  Key released = key;
  for (const auto& watchdog : watchdogs_.Find(key, token)) {
    if (watchdog->key().IsSemaphore()) released = watchdog->key();
    watchdog->OnReleased();
  }
  keys_.Release(
      {.key = std::move(released), .token = token, .source = source, .keep_for = keep_for},
      std::move(done));
}

void Shard::ReleaseAtEndOf(const Lease& lease, bool leave_delay, ReleaseDone done) {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  keys_.Release({.key = lease.key,
                 .token = lease.token,
                 .at_end_of = lease.keeper,
                 .fence = lease.fence,
                 .leave_delay = leave_delay},
                std::move(done));
}

void Shard::Proclaim(ProclaimCommand command, ProclaimDone done) {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  Proclamation::Start(env_, std::move(command), std::move(done));
}

std::shared_ptr<Cancellable> Shard::Inspect(const Key& key, InspectDone done, Source source) {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  return Inspection::Start(env_, key, std::move(done), source);
}

std::shared_ptr<void> Shard::Observe(const Key& key, ObserverTold told) {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  return keys_.Observe(key, std::move(told));
}

std::vector<LeaseListing> Shard::ListLeases() const {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  std::vector<LeaseListing> all;
  registry_.ForEach<Watchdog>([&](const Watchdog& watchdog) {
    LeaseListing listing{.key = watchdog.key(), .failures = watchdog.failures()};
    listing.kind = watchdog.lost() ? LeaseListing::Kind::kLost : LeaseListing::Kind::kWatched;
    listing.owner = watchdog.owner();
    listing.fence = watchdog.fence();
    if (!watchdog.lost()) listing.validity = std::max(watchdog.valid_until() - Now(), Duration{});
    all.push_back(std::move(listing));
  });
  keys_.ForEachWaiter([&all](const Acquisition& waiter, std::size_t position) {
    all.push_back(ListingOf(waiter, position));
  });
  return all;
}

std::vector<LeaseListing> Shard::ListWaiters(const Key& key, std::size_t most) const {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  std::vector<LeaseListing> waiters;
  if (const Contention* const contention = keys_.Find(key)) {
    contention->queue().ForEach([&](const Acquisition& waiter, std::size_t position) {
      if (position < most) waiters.push_back(ListingOf(waiter, position));
    });
  }
  return waiters;
}

Holding Shard::HoldingOf(const Key& key, const OwnerToken& token) const {
  Holding known{.key = key, .fence = {}, .owner = {}, .since = {}};
  for (const auto& watchdog : watchdogs_.Find(key, token)) {
    known = watchdog->holding();
    if (known.since) break;
  }
  return known;
}

void Shard::CountHold(const Holding& holding) {
  const auto held = holding.HeldFor(Now());
  if (held) statistics_.groups[options_.key_groups.Of(holding.key)].holds.Add(*held);
}

std::vector<GroupNow> Shard::Groups() const {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  std::vector<GroupNow> groups(options_.key_groups.size());
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (const auto since = watchdogs_.ages().Oldest(i)) groups[i].oldest = Now() - *since;
  }
  // Many waiters wait for the same key, one after the other here.
  Key last;
  std::size_t group = options_.key_groups.Of(last);
  keys_.ForEachWaiter([&](const Acquisition& waiter, std::size_t /*position*/) {
    if (const Key& key = waiter.command().key; key != last) {
      last = key;
      group = options_.key_groups.Of(key);
    }
    ++groups[group].waiters;
  });
  return groups;
}

void Shard::ForceRelease(const Key& key, ForceReleaseDone done) {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  struct Releases {
    InspectResult before;
    std::size_t under_way = 0;
    std::optional<Error> worst;
  };
  Inspection::Start(env_, key, [this, key, done = std::move(done)](InspectResult result) {
    const auto releases = std::make_shared<Releases>();
    releases->before = std::move(result);
    if (releases->before.holders.empty()) {
      done(releases->before, std::nullopt);
      return;
    }
    releases->under_way = releases->before.holders.size();
    for (const OwnerToken& holder : releases->before.holders) {
      for (const auto& watchdog : watchdogs_.FindAll(key, holder)) watchdog->OnTaken();
      const auto released = [this, key, releases, done](const ReleaseResult& one) {
        // Not held by a quorum, but released on the nodes that held it.
        if (one.error && one.error->reason != Reason::kLockNotHeld) releases->worst = one.error;
        if (--releases->under_way > 0) return;
        if (releases->worst || releases->before.holders.size() < kMostListedShares) {
          done(releases->before, releases->worst);
          return;
        }
        // The nodes have not listed all of them.
        ForceRelease(key, [releases, done](const InspectResult&, std::optional<Error> error) {
          done(releases->before, std::move(error));
        });
      };
      keys_.Release({.key = key, .token = holder}, released);
    }
  });
}

void Shard::WatchQuorum(std::function<void(bool)> told) {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  if (Membership* const membership = nodes_.membership()) {
    membership->WatchQuorum(std::move(told));
  } else if (told) {
    told(true);
  }
}

void Shard::WatchRecord(std::function<void(const SetRecord&)> told) {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  if (Membership* const membership = nodes_.membership()) membership->WatchRecord(std::move(told));
}

Membership::Started Shard::ChangeNodeSet(ChangeRequest request, ChangeTold told) {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  return nodes_.membership()->Change(std::move(request), std::move(told));
}

std::shared_ptr<void> Shard::CreateNodeSet(ChangeTold told) {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  return nodes_.membership()->Create(std::move(told));
}

void Shard::Drain() {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  draining_ = true;
  registry_.Drain();
}

std::size_t Shard::waiters(const Key& key) const {
  const Contention* const contention = keys_.Find(key);
  return contention == nullptr ? 0 : contention->queue().size();
}

}  // namespace redlock
