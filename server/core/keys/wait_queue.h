// Who waits for a key at this daemon: first come, first served.
//
// Only the head asks the nodes, and only when there is reason to: a holder at this daemon hands
// over to it; a release elsewhere is announced; the TTL that the nodes told has passed; or, as a
// fallback for holders that announce nothing, one node is asked now and then whether it is free.
// However many wait, the nodes see one.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/core/keys/acquisition.h"

namespace redlock {

// The queue of one key. One thread. Waiters leave before they are destroyed.
class WaitQueue final : public std::enable_shared_from_this<WaitQueue> {
 public:
  // `empty` is called some time after the last one has left, unless another has come.
  WaitQueue(const Environment& env, OperationRegistry& registry, Key key,
            std::function<void()> empty);
  ~WaitQueue();

  [[nodiscard]] std::size_t size() const { return waiters_.size(); }
  [[nodiscard]] bool IsHead(const Acquisition& waiter) const {
    return !waiters_.empty() && waiters_.front() == &waiter;
  }
  void ForEach(auto visit) const {
    for (std::size_t i = 0; i < waiters_.size(); ++i) visit(*waiters_[i], i);
  }
  // What the head was told last.
  [[nodiscard]] const Error& last_error() const { return last_error_; }
  [[nodiscard]] const Votes& last_votes() const { return last_votes_; }

  // To the tail. `lost`: the attempt that told it to wait, if it made one.
  void Join(Acquisition& waiter, const AttemptResult* lost);
  // From any place. `was_trying`: it may have held the key for a moment.
  void Leave(Acquisition& waiter, bool was_trying);
  void LeaveAsHolder(Acquisition& waiter);
  // The head's attempt.
  void OnLost(const AttemptResult& result);
  // The head is to try now, if it is not trying already.
  void TryHead();

  // A holder releases: true where the head takes over, and `done` will be called. Else the key is
  // to be released, and OnReleased() called then.
  [[nodiscard]] bool TakeOver(const OwnerToken& from, const ReleaseDone& done);
  // `others_wait`: at other daemons, which have their turn now.
  void OnReleased(bool others_wait);
  // The key is left to other daemons for a moment.
  [[nodiscard]] bool subscribed() const { return subscribed_; }
  [[nodiscard]] bool yielding() const { return env_.scheduler.Now() < yield_until_; }

  void OnListening(NodeIndex node);
  void OnDeaf(NodeIndex node) { listening_[node] = false; }
  void OnAnnounced(NodeIndex node);

 private:
  class Probe;

  [[nodiscard]] Acquisition& head() { return *waiters_.front(); }
  [[nodiscard]] bool HeadIsIdle() const;
  [[nodiscard]] Attempt::Order NextOrder();
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
  bool try_again_ = false;      // something happened while the head was trying
  bool releasing_ = false;      // this daemon lets go of the key
  Duration yield_;              // how long the next turn of other daemons is, at most
  MonotonicTime yield_until_;   // other daemons have their turn
  bool yielded_ = false;        // and it is not known yet whether they took it
  int hand_overs_ = 0;          // since the key was last really released
  MonotonicTime rivals_until_;  // a vote was split not long ago
  int failures_ = 0;            // attempts in a row that could not be decided
  int denied_first_ = 0;        // attempts in a row that one node denied
  NodeIndex probe_node_ = 0;

  bool subscribed_ = false;  // from the first waiter on
  std::vector<bool> listening_;
  std::vector<bool> announced_;  // since the head's last attempt
  std::vector<bool> own_;        // the next announcement there is of this daemon's release
  TimerHandle wake_timer_;
  TimerHandle empty_timer_;
  TimerHandle position_timer_;
};

// The queues of a shard, by key; those that nobody waits in go. One thread.
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
