// Extends one lease for as long as somebody wants it, and reports in time when it is lost.
//
// The first extension is made at once (within an interval, for a lease that was just acquired),
// then one every interval. One that fails is repeated sooner, while validity lasts: a passing fault
// does not kill a watchdog. LOST is reported at the moment at which the validity ends on the
// monotonic clock, or a quorum says that the token no longer holds the key, whichever comes first;
// it needs no node to answer.
//
// A lease that is lost, or whose watchdog ends, is left to expire: its client may still trust it.
// No validity that is reported reaches beyond max_lifetime, because the TTL of the extensions is
// cut.
//
// How long a lease is valid that this daemon has not acquired is known to its client only. Until
// the first success, a TTL from the start is taken as the bound.
//
// Many watchdogs cost little: their extensions are spread over the interval, and those due within
// a tick of each other are made together, in one write to each node.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "server/core/leases/watchdog_index.h"
#include "server/core/operation.h"
#include "server/core/rounds/extension.h"

namespace redlock {

struct WatchCommand {
  Key key;
  OwnerToken token;
  Duration ttl{};
  Duration interval{};  // less than ttl
  bool keep_watching_after_loss = false;
  std::optional<Duration> max_lifetime;
  // Known to be valid, because it was just acquired or adopted. If it belongs to a stream, that is
  // the one that this watchdog extends for.
  std::optional<Lease> held;
  Source source = {};
};

struct WatchEvent {
  enum class Type {
    kExtended,
    kExtendFailed,
    kLost,           // the last event, unless keep_watching_after_loss
    kLifetimeEnded,  // max_lifetime has passed
    kReleased,       // by a Release of its token at this daemon
  };
  Type type = Type::kExtended;
  Lease lease;  // for kExtended; for kLost its key and token
  Error error;  // for the others
  Votes votes;
  int consecutive_failures = 0;
  bool goes_on = true;  // false: the watchdog has ended, no event follows
};
using WatchEvents = std::function<void(WatchEvent)>;

class Watchdog final : public Operation, public std::enable_shared_from_this<Watchdog> {
 public:
  // Events come one by one, never inside this call.
  static std::shared_ptr<Watchdog> Start(const Environment& env, OperationRegistry& registry,
                                         WatchdogIndex& index, WatchCommand command,
                                         WatchEvents events);

  // No event comes any more, and nothing is extended: the lease expires, or somebody else watches
  // it.
  void Detach();
  // The owner releases the lease, or somebody takes it by force: ends with an event.
  void OnReleased();
  void OnTaken();
  [[nodiscard]] const Key& key() const { return key_; }
  [[nodiscard]] const OwnerToken& token() const { return token_; }
  // As it is known here. Its keeper is the stream that this watchdog extends for, if it does for
  // one.
  [[nodiscard]] Lease lease() const;
  [[nodiscard]] bool lost() const { return lost_; }
  [[nodiscard]] int failures() const { return failures_; }
  [[nodiscard]] MonotonicTime valid_until() const { return valid_until_; }
  // The lease was extended by other means.
  void Confirmed(const Lease& lease);

 private:
  static constexpr MonotonicTime kNever = MonotonicTime::max();

  Watchdog(const Environment& env, OperationRegistry& registry, WatchdogIndex& index,
           WatchCommand command, WatchEvents events);
  void Extend();
  void OnExtension(ExtendResult result);
  void OnExtended(ExtendResult result);
  void OnExtendFailed(ExtendResult result);
  [[nodiscard]] MonotonicTime AfterInterval();
  void ExtendAt(MonotonicTime when);
  // The TTL of an extension now, cut so that the lease expires at the end of the lifetime.
  [[nodiscard]] Duration TtlNow() const;
  [[nodiscard]] bool IsValidUntilLifetimeEnd() const;
  void EndLifetime();
  void SetTimer();
  void OnTimer();
  void Lose(Error error, Votes votes);
  void Tell(WatchEvent event);
  void End();

  const Environment& env_;
  OperationRegistry& registry_;
  WatchdogIndex& index_;
  // Of the command. There may be very many watchdogs: only what is needed is kept.
  const Key key_;
  const OwnerToken token_;
  const Duration ttl_;
  const Duration interval_;
  const std::optional<Keeper> keeper_;
  const bool keep_watching_after_loss_;
  const Source source_;
  const std::optional<MonotonicTime> lifetime_end_;

  bool held_;  // acquired, or extended once
  FencingToken fence_;
  bool lost_ = false;
  bool spread_ = false;  // the first pause, which is random, is over
  int failures_ = 0;
  WatchEvents events_;
  MonotonicTime valid_until_;
  MonotonicTime last_extension_;
  MonotonicTime extend_at_ = kNever;
  std::shared_ptr<Extension> extension_;  // under way
  TimerHandle timer_;  // for the loss or the next extension, whichever comes first
  TimerHandle lifetime_timer_;
};

}  // namespace redlock
