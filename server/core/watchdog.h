// Extends one lease for as long as somebody wants it, and says in time when it is lost.
//
// The first extension is made at once (within an interval, for a lease that was just acquired),
// then one every interval. One that fails is repeated sooner, while validity lasts: a passing fault
// does not kill a watchdog. LOST is told at the moment that validity runs out on the monotonic
// clock, or a quorum says that the token no longer holds the key, whichever comes first; it needs
// no node to answer.
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

#include "server/core/extension.h"
#include "server/core/operation.h"
#include "server/core/release.h"

namespace redlock {

struct WatchCommand {
  Key key;
  OwnerToken token;
  Duration ttl{};
  Duration interval{};  // less than ttl
  bool release_on_close = false;
  bool keep_watching_after_loss = false;
  std::optional<Duration> max_lifetime;
  std::optional<Lease> held;  // known to be valid, because it was just acquired
};

struct WatchEvent {
  enum class Type {
    kExtended,
    kExtendFailed,
    kLost,           // the last event, unless keep_watching_after_loss
    kLifetimeEnded,  // max_lifetime has passed
  };
  Type type = Type::kExtended;
  Lease lease;  // for kExtended
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
                                         Releaser& releaser, WatchCommand command,
                                         WatchEvents events);

  // The client has gone: no event comes any more. Releases if that was asked for.
  void Cancel(Reason why) override;
  // The same without a release: somebody else watches the lease from now on.
  void LetGo();
  [[nodiscard]] const Key& key() const { return key_; }
  [[nodiscard]] bool lost() const { return lost_; }
  [[nodiscard]] int failures() const { return failures_; }
  [[nodiscard]] MonotonicTime valid_until() const { return valid_until_; }
  // The lease was extended by other means.
  void Confirmed(const Lease& lease);

 private:
  static constexpr MonotonicTime kNever = MonotonicTime::max();

  Watchdog(const Environment& env, OperationRegistry& registry, Releaser& releaser,
           WatchCommand command, WatchEvents events);
  void Extend();
  void OnExtension(ExtendResult result);
  void OnExtended(ExtendResult result);
  void OnExtendFailed(ExtendResult result);
  [[nodiscard]] MonotonicTime AfterInterval();
  void ExtendAt(MonotonicTime when);
  void SetTimer();
  void OnTimer();
  void Lose(Error error, Votes votes);
  void Tell(WatchEvent event);
  void End();

  const Environment& env_;
  OperationRegistry& registry_;
  Releaser& releaser_;
  // Of the command. There may be very many watchdogs: only what is needed is kept.
  const Key key_;
  const OwnerToken token_;
  const Duration ttl_;
  const Duration interval_;
  // Set where it releases at the end: does so unless another attempt than this one has adopted the
  // lease since. That by which it was acquired; or else the first extension adopts it.
  const std::optional<AttemptId> released_for_;
  const bool keep_watching_after_loss_;

  bool adopted_;  // or acquired
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
