// Extends one lease until the watchdog ends, and reports its loss in time.
//
// The first extension is sent at once (within an interval for a lease that was just acquired), then
// one in every interval. A failed extension is retried sooner while validity lasts, so that a
// transient fault does not end a watchdog. LOST is reported when the validity ends on the monotonic
// clock, or when a quorum answers that the token no longer holds the key, whichever comes first.
// The end of the validity is detected without an answer from any node.
//
// A lease that is lost, or whose watchdog ends, is left to expire, because its client may still
// trust it. No reported validity exceeds max_lifetime, because the TTL of the extensions is cut.
//
// If this daemon did not acquire the lease, only its client knows how long it is valid. Until the
// first success, the watchdog assumes one TTL from the start.
//
// Many watchdogs cost little: their extensions are spread over the interval, and those due within
// one tick are sent together, in one write to each node. Strand-confined.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>

#include "server/core/leases/holding.h"
#include "server/core/leases/watchdog_index.h"
#include "server/core/operation.h"
#include "server/core/passkey.h"
#include "server/core/rounds/extension.h"

namespace redlock {

struct WatchCommand {
  Key key;
  OwnerToken token;
  Duration ttl{};
  Duration interval{};  // less than ttl
  bool keep_watching_after_loss = false;
  std::optional<Duration> max_lifetime;
  // Set if the lease is known to be valid, because it was just acquired or adopted. If it belongs
  // to a stream, the watchdog extends on behalf of that stream.
  std::optional<Lease> held;
  // As in ExtendCommand, for nodes that the downgrade did not reach.
  FencingToken downgrade_from = {};
  Source source = {};
  Owner owner = {};  // empty: the first extension asks the nodes
  // As in Holding.
  std::optional<MonotonicTime> since = {};
};

struct WatchEvent {
  enum class Type {
    kExtended,
    kExtendFailed,
    kLost,           // the last event, unless keep_watching_after_loss
    kLifetimeEnded,  // max_lifetime has passed
    kReleased,       // by a Release of its token at this daemon
    kDenied,         // the client may no longer keep the lease
  };
  Type type = Type::kExtended;
  Lease lease;  // without kExtended, only key and token are set
  Error error;  // with all types but kExtended
  Votes votes;
  int consecutive_failures = 0;
  bool goes_on = true;  // false: the watchdog has ended, no event follows
};

// Receives what happens to watched leases. Strand-confined.
class WatchListener {
 public:
  virtual ~WatchListener() = default;
  virtual void OnWatchEvent(const WatchEvent& event) = 0;
};

class Watchdog final : public Operation, public std::enable_shared_from_this<Watchdog> {
 public:
  // Events arrive one at a time, never inside this call. Keeps the listener until the last event.
  static std::shared_ptr<Watchdog> Start(const Environment& env, WatchdogIndex& index,
                                         WatchCommand command,
                                         std::shared_ptr<WatchListener> listener);
  Watchdog(Passkey<Watchdog> key, const Environment& env, WatchdogIndex& index,
           WatchCommand command, std::shared_ptr<WatchListener> listener);

  // Stops extending; no event follows. The lease expires, or another watchdog extends it.
  void Detach();
  // The owner releases the lease (OnReleased), it is released by force (OnTaken), or its client may
  // no longer keep it (OnDenied): ends the watchdog with an event.
  void OnReleased();
  void OnTaken();
  void OnDenied();
  [[nodiscard]] const Key& key() const { return key_; }
  [[nodiscard]] const OwnerToken& token() const { return token_; }
  [[nodiscard]] Duration ttl() const { return ttl_; }
  [[nodiscard]] Duration interval() const { return interval_; }
  // The lease as this watchdog knows it. The keeper is set if the watchdog extends for a stream.
  [[nodiscard]] Lease lease() const;
  // What is shown of it: without the number of the value and the lock delay.
  [[nodiscard]] Owner owner() const;
  [[nodiscard]] FencingToken fence() const { return fence_; }
  [[nodiscard]] Holding holding() const;
  // Counts how long the lease was held. Call once when it is released, before Detach(); an end with
  // an event is counted by itself.
  void CountHold();
  [[nodiscard]] bool lost() const { return lost_; }
  [[nodiscard]] int failures() const { return failures_; }
  [[nodiscard]] MonotonicTime valid_until() const { return valid_until_; }
  // Records that the lease was extended by other means.
  void Confirmed(const Lease& lease);

 private:
  static_assert(KeyGroups::kMost <= std::numeric_limits<std::uint8_t>::max());
  static constexpr MonotonicTime kNever = MonotonicTime::max();

  void Extend();
  void OnExtension(ExtendResult result);
  void OnExtended(ExtendResult result);
  void OnExtendFailed(ExtendResult result);
  [[nodiscard]] MonotonicTime AfterInterval();
  void ExtendAt(MonotonicTime when);
  // The TTL of an extension sent now, cut so that the lease expires at the end of the lifetime.
  [[nodiscard]] Duration TtlNow() const;
  [[nodiscard]] bool IsValidUntilLifetimeEnd() const;
  [[nodiscard]] bool LifetimeEndsFirst() const;
  void EndLifetime();
  void SetTimer();
  void OnTimer();
  void Lose(Error error, Votes votes);
  void Tell(const WatchEvent& event);
  [[nodiscard]] std::optional<Keeper> keeper() const {
    return has_keeper_ ? std::optional(keeper_) : std::nullopt;
  }
  void KeepOwner(Owner owner);
  void BeginAge();
  void EndAge();
  void End();

  const Environment& env_;
  WatchdogIndex& index_;
  // There may be a million watchdogs, so only the fields of the command that are needed are kept,
  // and the small ones are together.
  Key key_;  // of a semaphore, with the slot once it is known
  const OwnerToken token_;
  const Duration ttl_;
  const Duration interval_;
  const Keeper keeper_;
  const FencingToken downgrade_from_;
  const Source source_;
  const MonotonicTime lifetime_end_;  // kNever: no max_lifetime
  // When it was acquired; if it was not acquired on a stream of this daemon, when it was taken
  // over. In the ages of the index while it is not lost.
  MonotonicTime since_;
  int failures_ = 0;
  const std::uint8_t group_;
  const bool has_keeper_ : 1;
  const bool acquired_here_ : 1;
  const bool keep_watching_after_loss_ : 1;
  bool held_ : 1;  // acquired, or extended at least once
  bool lost_ : 1 = false;
  bool spread_ : 1 = false;  // the first, random pause is over
  bool has_age_ : 1 = false;

  FencingToken fence_;
  OwnerLabel label_;
  Origin origin_;
  Duration owner_since_{};
  PublishedValue value_;
  std::shared_ptr<WatchListener> listener_;  // until the last event
  MonotonicTime valid_until_;
  MonotonicTime last_extension_;
  MonotonicTime extend_at_ = kNever;
  std::shared_ptr<Extension> extension_;  // in progress
  TimerHandle timer_;  // for the loss, the end of the lifetime or the next extension
};

}  // namespace redlock
