#include "server/core/keys/wait_queue.h"

#include <algorithm>
#include <utility>

#include "server/core/check.h"

namespace redlock {
namespace {

using std::chrono::milliseconds;

// Added to the TTL that a node reported, because the node rounds it to milliseconds.
constexpr Duration kAfterExpiry = milliseconds(2);
// The interval of probes of one node, for holders that announce nothing. A few commands per second,
// however many acquisitions wait.
constexpr Duration kProbePause = milliseconds(400);
constexpr Duration kProbeJitter = milliseconds(200);
// Announcements of one release arrive within a network delay of each other. The head does not wait
// longer for the other nodes.
constexpr Duration kAnnouncementGrace = milliseconds(2);
// The interval of probes of one node during a yield.
constexpr Duration kYieldProbePause = milliseconds(1);
// The pause after a yield: a daemon that has the key on the probed node may still miss the quorum.
constexpr Duration kAfterYield = milliseconds(10);
// The pause after a split vote.
constexpr Duration kAfterSplit = milliseconds(2);
// Bounds of the pauses after undecided attempts.
constexpr Duration kLongestRetryPause = std::chrono::seconds(2);
constexpr int kMaxDoublings = 6;
// An empty queue keeps its subscription for a moment, because busy keys get new waiters.
constexpr Duration kLinger = milliseconds(200);
// Positions change with every hand-over; waiters are informed at most this often.
constexpr Duration kPositionPause = std::chrono::seconds(1);

}  // namespace

// Asks one node whether the key is free.
class WaitQueue::Probe final : public ReplySink {
 public:
  explicit Probe(std::weak_ptr<WaitQueue> queue) : queue_(std::move(queue)) {}
  void OnReply(NodeIndex /*node*/, NodeReply reply) override {
    if (const auto queue = queue_.lock()) queue->OnProbed(reply.outcome);
  }

 private:
  const std::weak_ptr<WaitQueue> queue_;
};

WaitQueue::WaitQueue(const Environment& env, OperationRegistry& registry, Key key,
                     std::function<void()> empty)
    : env_(env),
      registry_(registry),
      key_(std::move(key)),
      empty_(std::move(empty)),
      announcements_(env.nodes.size()) {
  Linger();
}

void WaitQueue::Linger() {
  empty_timer_ = env_.scheduler.After(kLinger, [this] { empty_(); });
}

void WaitQueue::Join(Acquisition& waiter, const AttemptResult* lost) {
  empty_timer_.Cancel();
  if (!subscription_) subscription_.emplace(env_.nodes, key_);
  waiters_.push_back(&waiter);
  if (lost != nullptr) Remember(*lost);
  if (waiter.command().queued) waiter.command().queued(waiters_.size() - 1);
  if (waiters_.size() > 1) return;
  if (lost != nullptr) {
    WakeAfterLoss(*lost);
  } else if (yielding()) {
    WakeAfter(kYieldProbePause);
  } else {
    WakeWhenDue();
  }
}

bool WaitQueue::Remove(const Acquisition& waiter) {
  const bool was_head = IsHead(waiter);
  const std::size_t removed = std::erase(waiters_, &waiter);
  REDLOCK_CHECK(removed == 1);
  return was_head;
}

void WaitQueue::Leave(Acquisition& waiter, bool was_trying) {
  if (Remove(waiter)) {
    // The head's attempt is being rolled back: the key may be free right after that.
    if (was_trying) WakeAfter({});
    HeadChanged();
  }
}

void WaitQueue::LeaveAsHolder(Acquisition& waiter) {
  failures_ = 0;
  free_at_ = env_.scheduler.Now() + waiter.command().ttl;
  last_error_ = HeldBy(waiter.command().owner, waiter.command().ttl);
  last_votes_.clear();
  if (!Remove(waiter)) return;
  if (!waiters_.empty()) WakeWhenDue();
  HeadChanged();
}

void WaitQueue::HeadChanged() {
  if (waiters_.empty()) {
    wake_timer_.Cancel();
    position_timer_.Cancel();
    Linger();
    return;
  }
  if (head().command().queued) head().command().queued(0);
  position_timer_ = env_.scheduler.After(kPositionPause, [this] { TellPositions(); });
}

void WaitQueue::TellPositions() {
  for (std::size_t i = 1; i < waiters_.size(); ++i) {
    if (waiters_[i]->command().queued) waiters_[i]->command().queued(i);
  }
}

bool WaitQueue::HeadIsIdle() const { return !waiters_.empty() && !waiters_.front()->trying(); }

void WaitQueue::Remember(const AttemptResult& result) {
  last_error_ = result.error;
  last_votes_ = result.votes;
  if (result.error.reason == Reason::kLockAlreadyHeld) failures_ = 0;
  const MonotonicTime now = env_.scheduler.Now();
  free_at_ = now + result.error.retry_after;
  if (result.split) rivalry_.OnSplit(now);
}

AttemptResult WaitQueue::WhyWaiting() const {
  if (auto outage = env_.outage(); outage && !IsOutage(last_error_.reason)) {
    return {.lease = std::nullopt, .error = std::move(*outage), .votes = {}};
  }
  return {.lease = std::nullopt, .error = last_error_, .votes = last_votes_};
}

void WaitQueue::OnLost(const AttemptResult& result) {
  Remember(result);
  if (std::exchange(try_again_, false)) {
    WakeAfter({});
  } else {
    WakeAfterLoss(result);
  }
}

void WaitQueue::WakeAfterLoss(const AttemptResult& result) {
  if (result.split) {
    WakeAfter(env_.random.UpTo(kAfterSplit));
  } else if (result.error.reason != Reason::kLockAlreadyHeld) {
    // Nodes that do not answer in time may be overloaded: increasing pauses relieve them.
    const Duration pause = NextRetryDelay(head().command().retry, env_.random);
    WakeAfter(std::min(pause * (1 << std::min(failures_, kMaxDoublings)),
                       std::max<Duration>(pause, kLongestRetryPause)));
    ++failures_;
  } else {
    WakeWhenDue();
  }
}

void WaitQueue::TryHead() {
  if (waiters_.empty()) return;
  if (head().trying()) {
    try_again_ = true;
    return;
  }
  wake_timer_.Cancel();
  try_again_ = false;
  announcements_.Clear();
  head().Try(rivalry_.NextOrder(env_.scheduler.Now()));
}

// Wakes at the end of the holder's TTL, or earlier to probe one node.
void WaitQueue::WakeWhenDue() {
  const Duration until_free = free_at_ - env_.scheduler.Now() + kAfterExpiry;
  const Duration probe = kProbePause + env_.random.UpTo(kProbeJitter);
  WakeAfter(std::max(std::min(until_free, probe), kMinRetryDelay));
}

void WaitQueue::WakeAfter(Duration delay) {
  wake_timer_ = env_.scheduler.After(delay, [this] { OnWake(); });
}

void WaitQueue::OnWake() {
  if (!HeadIsIdle()) return;
  if (yielding()) {
    ProbeOneNode();
    WakeAfter(std::min(kYieldProbePause, yield_.until() - env_.scheduler.Now()));
    return;
  }
  if (yield_.WasInVain()) {
    TryHead();
    return;
  }
  const bool held = last_error_.reason == Reason::kLockAlreadyHeld;
  if (held && env_.scheduler.Now() < free_at_) {
    ProbeOneNode();
    WakeWhenDue();
  } else {
    TryHead();
  }
}

void WaitQueue::ProbeOneNode() {
  probe_node_ = (probe_node_ + 1) % env_.nodes.size();
  env_.nodes[probe_node_]->Probe(key_, std::make_shared<Probe>(weak_from_this()));
}

void WaitQueue::OnProbed(Outcome outcome) {
  if (yielding()) {
    if (outcome != Outcome::kHeld) return;
    EndYield();
    if (HeadIsIdle()) WakeAfter(kAfterYield);
  } else if (outcome == Outcome::kNotHeld) {
    TryHead();
  }
}

// Called when another daemon has or has had the key.
void WaitQueue::EndYield() {
  free_at_ = env_.scheduler.Now();
  yield_.OnTaken(free_at_);
}

bool WaitQueue::TakeOver(const OwnerToken& from, const ReleaseDone& done) {
  if (HeadIsIdle() && hand_overs_ < env_.options.max_hand_overs) {
    ++hand_overs_;
    wake_timer_.Cancel();
    announcements_.Clear();
    head().TakeOver(HandOver::Start(env_, registry_, key_, from, done));
    return true;
  }
  releasing_ = true;
  announcements_.ExpectOwn();
  return false;
}

void WaitQueue::OnReleased(int listeners) {
  releasing_ = false;
  hand_overs_ = 0;
  const int own_subscription = subscription_ ? 1 : 0;
  if (listeners > own_subscription) {
    yield_.Begin(env_.scheduler.Now());
    free_at_ = yield_.until();
    last_error_ = {.reason = Reason::kLockAlreadyHeld,
                   .message = "other daemons wait for the lock",
                   .retry_after = yield_.length()};
    if (HeadIsIdle()) WakeAfter(kYieldProbePause);
  } else {
    TryHead();
  }
}

void WaitQueue::OnListening(NodeIndex node) {
  const std::size_t listening = announcements_.OnListening(node);
  // An announcement between the head's attempt and now may have been missed, so the head tries once
  // when a quorum listens. If no holder was seen, there was none to release, and the pause
  // continues.
  if (listening == env_.set->quorum() && last_error_.reason == Reason::kLockAlreadyHeld) {
    TryHead();
  }
}

void WaitQueue::OnAnnounced(NodeIndex node) {
  // This daemon's own release is not a reason to take the key at once.
  const bool own = announcements_.TakeOwn(node);
  if (own || waiters_.empty() || releasing_) return;
  if (yielding()) EndYield();
  if (head().trying()) {
    try_again_ = true;
    return;
  }
  const std::size_t announced = announcements_.Add(node);
  if (announced >= env_.set->quorum()) {
    TryHead();
  } else if (announced == 1) {
    free_at_ = env_.scheduler.Now() + kAnnouncementGrace;
    WakeAfter(kAnnouncementGrace);
  }
}

WaitQueue* WaitQueues::Find(const Key& key) const {
  const auto found = queues_.find(key.value());
  return found == queues_.end() ? nullptr : found->second.get();
}

WaitQueue& WaitQueues::Get(const Key& key) {
  auto& queue = queues_[key.value()];
  if (!queue) {
    queue = std::make_shared<WaitQueue>(env_, registry_, key, [this, key] {
      const std::shared_ptr<WaitQueue> last = Find(key)->shared_from_this();
      queues_.erase(key.value());
    });
  }
  return *queue;
}

std::size_t WaitQueues::waiters() const {
  std::size_t sum = 0;
  for (const auto& [key, queue] : queues_) sum += queue->size();
  return sum;
}

void WaitQueues::OnListening(NodeIndex node, const Key& key) {
  if (WaitQueue* const queue = Find(key)) queue->OnListening(node);
}

void WaitQueues::OnDeaf(NodeIndex node) {
  for (const auto& [key, queue] : queues_) queue->OnDeaf(node);
}

void WaitQueues::OnAnnounced(NodeIndex node, const Key& key) {
  if (WaitQueue* const queue = Find(key)) queue->OnAnnounced(node);
}

}  // namespace redlock
