// Contention for one key: the acquisitions that wait for it at this daemon, and when they ask.
//
// Only the head of the queue asks the nodes, and only when there is a reason: a holder at this
// daemon hands over; a release elsewhere is announced; the TTL that the nodes reported has passed;
// or a probe of one node, a fallback for holders that announce nothing, finds the key free. However
// many acquisitions wait, the nodes see one.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "server/core/keys/acquisition.h"
#include "server/core/keys/announcements.h"
#include "server/core/keys/intent.h"
#include "server/core/keys/probe_pace.h"
#include "server/core/keys/rivalry.h"
#include "server/core/keys/wait_queue.h"
#include "server/core/keys/yield.h"

namespace redlock {

// Strand-confined. Waiters must leave before they are destroyed.
class Contention final : public std::enable_shared_from_this<Contention> {
 public:
  // `ended` is called some time after the last waiter has left, unless another one has joined. It
  // may destroy this object.
  Contention(const Environment& env, ProbePace& pace, Key key, std::function<void()> ended);
  ~Contention() { pace_.Leave(); }
  Contention(const Contention&) = delete;
  Contention& operator=(const Contention&) = delete;

  [[nodiscard]] const WaitQueue& queue() const { return queue_; }
  // Why the head waits: the result of its last attempt. If the daemon knows that too few nodes
  // can grant at present: that, because the head may sleep since before, and an outage must not
  // look like contention.
  [[nodiscard]] AttemptResult WhyWaiting() const;

  // Appends a waiter. `lost`: the failed attempt that made it wait, if any.
  void Join(Acquisition& waiter, const AttemptResult* lost);
  // Decides when the head tries first. It has just become the head of all queues that it is in.
  // `lost`: as above.
  void OnReady(const AttemptResult* lost);
  // Removes a waiter at any position. `was_trying`: it may have held the key for a moment.
  void Leave(Acquisition& waiter, bool was_trying);
  void LeaveAsHolder(Acquisition& waiter);
  // A waiter's attempt failed: the head's, or that of another one to take a slot over.
  void OnLost(const Acquisition& waiter, const AttemptResult& result);
  // The head tries now if the key may be free.
  void Wake() { WakeAfter({}); }
  // Stops new shares while the head waits for the present ones to end.
  void Intend();
  // Makes the head try now, or again after the attempt in progress.
  void TryHead();

  // Whether those who wait use the key in the same way, as a lock or as a semaphore of one limit.
  // Nobody waits for a key that is in use in another way.
  [[nodiscard]] bool IsUsedAlike(const Key& wanted) const;

  // A holder of exactly what the head wants releases it, or a slot that the head or a waiter behind
  // it wants. Returns true if a waiter takes over; `done` will be called.
  [[nodiscard]] bool TakeOver(const Key& released, const OwnerToken& from, const ReleaseDone& done);
  // This daemon begins to release the key, without a hand-over. OnReleased() follows.
  void OnReleaseBegins() { announcements_.ExpectOwn(); }
  // If other daemons listen for releases, acquisitions wait there, and the key is left to them for
  // a moment.
  void OnReleased(const ReleaseResult& result);
  // Whether the key is left to other daemons for a moment.
  [[nodiscard]] bool yielding() const { return yield_.IsActive(env_.scheduler.Now()); }

  void OnListening(NodeIndex node);
  void OnDeaf(NodeIndex node) { announcements_.OnDeaf(node); }
  // `releasing`: this daemon is releasing the key, too.
  void OnAnnounced(NodeIndex node, bool releasing);

 private:
  class Probe;

  // Whether the head could try now.
  [[nodiscard]] bool HeadIsIdle() const;
  void Remember(const AttemptResult& result);
  void WakeAfterLoss(const AttemptResult& result);
  void WakeWhenDue();
  void WakeAfter(Duration delay);
  void OnWake();
  void ProbeOneNode();
  void OnProbed(Outcome outcome);
  void EndYield();
  void Linger();
  void OnHeadLeft();
  void LetNextTry();
  [[nodiscard]] Acquisition* WhoTakesOver(const Key& released) const;

  const Environment& env_;
  ProbePace& pace_;
  const Key key_;
  const std::function<void()> ended_;
  WaitQueue queue_;

  MonotonicTime free_at_;  // when the holder's TTL will have passed, as far as is known
  // Before the first attempt: the head waits for its turn at another of its keys.
  Error last_error_{.reason = Reason::kLockAlreadyHeld, .message = "others wait for the lock"};
  Votes last_votes_;
  bool try_again_ = false;  // the key may have become free during the head's attempt
  int hand_overs_ = 0;      // since the last release without hand-over
  int failures_ = 0;        // consecutive undecided attempts
  NodeIndex probe_node_ = 0;
  MonotonicTime probed_;
  Yield yield_;
  Rivalry rivalry_;
  bool shared_ = false;  // the head's last attempt found that holders share the key
  Intent intent_;

  std::optional<Subscription> subscription_;  // from the first waiter on
  Announcements announcements_;
  TimerHandle wake_timer_;
  TimerHandle end_timer_;
};

}  // namespace redlock
