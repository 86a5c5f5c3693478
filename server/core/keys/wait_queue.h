// Queues the acquisitions that wait for a key at this daemon: first come, first served.
//
// Only the head asks the nodes, and only when there is a reason: a holder at this daemon hands
// over; a release elsewhere is announced; the TTL that the nodes reported has passed; or a probe of
// one node, a fallback for holders that announce nothing, finds the key free. However many
// acquisitions wait, the nodes see one.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/core/keys/acquisition.h"
#include "server/core/keys/announcements.h"
#include "server/core/keys/rivalry.h"
#include "server/core/keys/yield.h"

namespace redlock {

// The wait queue of one key. Strand-confined. Waiters must leave before they are destroyed.
class WaitQueue final : public std::enable_shared_from_this<WaitQueue> {
 public:
  // `empty` is called some time after the last waiter has left, unless another one has joined.
  WaitQueue(const Environment& env, OperationRegistry& registry, Key key,
            std::function<void()> empty);

  [[nodiscard]] std::size_t size() const { return waiters_.size(); }
  [[nodiscard]] bool IsHead(const Acquisition& waiter) const {
    return !waiters_.empty() && waiters_.front() == &waiter;
  }
  void ForEach(auto visit) const {
    for (std::size_t i = 0; i < waiters_.size(); ++i) visit(*waiters_[i], i);
  }
  // Why the head waits: the result of its last attempt. If the daemon knows that too few nodes
  // can grant at present: that, because the head may sleep since before, and an outage must not
  // look like contention.
  [[nodiscard]] AttemptResult WhyWaiting() const;

  // Appends a waiter. `lost`: the failed attempt that made it wait, if any.
  void Join(Acquisition& waiter, const AttemptResult* lost);
  // Removes a waiter at any position. `was_trying`: it may have held the key for a moment.
  void Leave(Acquisition& waiter, bool was_trying);
  void LeaveAsHolder(Acquisition& waiter);
  // The head's attempt failed.
  void OnLost(const AttemptResult& result);
  // Makes the head try now, or again after the attempt in progress.
  void TryHead();

  // A holder releases. Returns true if the head takes over; `done` will be called. Otherwise the
  // caller must release the key and then call OnReleased().
  [[nodiscard]] bool TakeOver(const OwnerToken& from, const ReleaseDone& done);
  // `listeners`: the most subscribers that a node announced the release to. If other daemons are
  // among them, acquisitions wait there, and the key is left to them for a moment.
  void OnReleased(int listeners);
  // Whether the key is left to other daemons for a moment.
  [[nodiscard]] bool yielding() const { return yield_.IsActive(env_.scheduler.Now()); }

  void OnListening(NodeIndex node);
  void OnDeaf(NodeIndex node) { announcements_.OnDeaf(node); }
  void OnAnnounced(NodeIndex node);

 private:
  class Probe;

  [[nodiscard]] Acquisition& head() { return *waiters_.front(); }
  // Takes the waiter out of the queue. Returns whether it was the head.
  bool Remove(const Acquisition& waiter);
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
  void HeadChanged();
  void TellPositions();

  const Environment& env_;
  OperationRegistry& registry_;
  const Key key_;
  const std::function<void()> empty_;
  std::deque<Acquisition*> waiters_;

  MonotonicTime free_at_;  // when the holder's TTL will have passed, as far as is known
  Error last_error_;
  Votes last_votes_;
  bool try_again_ = false;  // the key may have become free during the head's attempt
  bool releasing_ = false;  // this daemon is releasing the key
  int hand_overs_ = 0;      // since the last release without hand-over
  int failures_ = 0;        // consecutive undecided attempts
  NodeIndex probe_node_ = 0;
  Yield yield_;
  Rivalry rivalry_;

  std::optional<Subscription> subscription_;  // from the first waiter on
  Announcements announcements_;
  TimerHandle wake_timer_;
  TimerHandle empty_timer_;
  TimerHandle position_timer_;
};

// The wait queues of a shard, by key. Empty queues are removed after a while. Strand-confined.
class WaitQueues final : public AnnouncementSink {
 public:
  WaitQueues(const Environment& env, OperationRegistry& registry)
      : env_(env), registry_(registry) {}

  [[nodiscard]] WaitQueue* Find(const Key& key) const;
  [[nodiscard]] WaitQueue& Get(const Key& key);
  void Clear() { queues_.clear(); }
  // Of all keys.
  [[nodiscard]] std::size_t waiters() const;
  void ForEachWaiter(auto visit) const {
    for (const auto& [key, queue] : queues_) queue->ForEach(visit);
  }

  void OnListening(NodeIndex node, const Key& key) override;
  void OnDeaf(NodeIndex node) override;
  void OnAnnounced(NodeIndex node, const Key& key) override;

 private:
  const Environment& env_;
  OperationRegistry& registry_;
  std::unordered_map<std::string, std::shared_ptr<WaitQueue>> queues_;
};

}  // namespace redlock
