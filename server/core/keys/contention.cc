#include "server/core/keys/contention.h"

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

}  // namespace

// Asks one node whether the key is free.
class Contention::Probe final : public ReplySink {
 public:
  explicit Probe(std::weak_ptr<Contention> contention) : contention_(std::move(contention)) {}
  void OnReply(NodeIndex /*node*/, NodeReply&& reply) override {
    if (const auto contention = contention_.lock()) contention->OnProbed(reply.outcome);
  }

 private:
  const std::weak_ptr<Contention> contention_;
};

Contention::Contention(const Environment& env, ProbePace& pace, Key key,
                       std::function<void()> ended)
    : env_(env),
      pace_(pace),
      key_(std::move(key)),
      ended_(std::move(ended)),
      queue_(env.scheduler),
      intent_(env.nodes, key_, {env.random.Bits()}),
      announcements_(env.nodes.size()) {
  pace_.Enter();
  Linger();
}

void Contention::Linger() {
  end_timer_ = env_.scheduler.After(kLinger, [this] { ended_(); });
}

void Contention::Join(Acquisition& waiter, const AttemptResult* lost) {
  end_timer_.Cancel();
  if (!subscription_) subscription_.emplace(env_.nodes, Topic::kReleases, key_);
  queue_.Add(waiter);
  // The head may be in a pause of its own that is too long for others.
  const bool was_alone = queue_.size() == 2;
  if (was_alone && failures_ > 0 && HeadIsIdle() &&
      queue_.head().command().retry.min_delay > kLongestRetryPause) {
    WakeAfter({});
  }
  if (lost != nullptr) Remember(*lost);
}

void Contention::OnReady(const AttemptResult* lost) {
  if (lost != nullptr) {
    WakeAfterLoss(*lost);
  } else if (yielding()) {
    WakeAfter(kYieldProbePause);
  } else {
    WakeWhenDue();
  }
}

void Contention::Leave(Acquisition& waiter, bool was_trying) {
  if (!queue_.Remove(waiter)) return;
  // The head's attempt is being rolled back: the key may be free right after that. It may also be
  // free if the head waited for other keys.
  if (was_trying || waiter.command().key.IsSeveral()) WakeAfter({});
  OnHeadLeft();
  if (shared_) LetNextTry();
}

void Contention::LeaveAsHolder(Acquisition& waiter) {
  failures_ = 0;
  const Key& key = waiter.command().key;
  const MonotonicTime expires = env_.scheduler.Now() + waiter.command().ttl;
  // Another slot may expire earlier than this one.
  free_at_ = key.IsSemaphore() ? std::min(free_at_, expires) : expires;
  Owner holder = waiter.command().owner;
  holder.since = env_.scheduler.WallNow().time_since_epoch();
  if (key.IsSemaphore()) {
    last_error_ = AllSlotsTaken(key.limit(), holder, waiter.command().ttl);
  } else if (key.IsShared()) {
    last_error_ = HeldByShares(holder, 0, waiter.command().ttl);
  } else {
    last_error_ = HeldBy(holder, waiter.command().ttl);
  }
  last_votes_.clear();
  shared_ = key.IsShared();
  if (!queue_.Remove(waiter)) return;
  if (!queue_.empty()) WakeWhenDue();
  OnHeadLeft();
  // A slot that was handed over was the only free one, unless others were released meanwhile.
  const bool more_slots =
      key.IsSemaphore() && (!waiter.takes_over() || std::exchange(try_again_, false));
  if (shared_ || more_slots) LetNextTry();
}

// Those who share the key follow each other at once, or an exclusive acquisition that gave up. So
// do those who want a slot, until there is none.
void Contention::LetNextTry() {
  if (!HeadIsIdle()) return;
  const Key& key = queue_.head().command().key;
  if (key.IsShared() || key.IsSemaphore()) TryHead();
}

void Contention::OnHeadLeft() {
  intent_.Withdraw();
  if (queue_.empty()) {
    wake_timer_.Cancel();
    Linger();
  } else {
    queue_.head().OnHead();
  }
  queue_.TellOfNewHead();
}

bool Contention::HeadIsIdle() const {
  return !queue_.empty() && !queue_.head().trying() && queue_.head().IsReady();
}

void Contention::Remember(const AttemptResult& result) {
  last_error_ = result.error;
  last_votes_ = result.votes;
  if (result.error.reason == Reason::kLockAlreadyHeld) failures_ = 0;
  const MonotonicTime now = env_.scheduler.Now();
  free_at_ = now + result.error.retry_after;
  if (result.split) rivalry_.OnSplit(now);
  shared_ = result.shared;
}

void Contention::Intend() {
  if (shared_ && !queue_.empty() && !queue_.head().command().key.IsShared())
    intent_.Renew(env_.scheduler.Now());
}

AttemptResult Contention::WhyWaiting() const {
  if (auto outage = env_.outage(); outage && !IsOutage(last_error_.reason)) {
    return {.lease = std::nullopt, .error = std::move(*outage), .votes = {}};
  }
  return {.lease = std::nullopt, .error = last_error_, .votes = last_votes_};
}

void Contention::OnLost(const Acquisition& waiter, const AttemptResult& result) {
  Remember(result);
  Intend();
  if (!queue_.IsHead(waiter) && queue_.head().trying()) {
    try_again_ = true;  // the slot may have become free during the head's attempt
    return;
  }
  // It waits for the end of its own token's hold. The others do not wait for that.
  if (result.has_slot && queue_.IsHead(waiter)) {
    queue_.SendHeadBack();
    queue_.TellOfNewHead();
  }
  if (std::exchange(try_again_, false)) {
    WakeAfter({});
  } else if (queue_.head().IsWokenBy(*this)) {
    WakeAfterLoss(result);
  }
}

void Contention::WakeAfterLoss(const AttemptResult& result) {
  if (result.split) {
    WakeAfter(env_.random.UpTo(kAfterSplit));
  } else if (result.error.reason == Reason::kKindMismatch) {
    WakeAfter({});  // those who wait are refused one after the other
  } else if (result.error.reason != Reason::kLockAlreadyHeld) {
    // Nodes that do not answer in time may be overloaded: increasing pauses relieve them.
    const Duration pause = NextRetryDelay(queue_.head().command().retry, env_.random);
    // The policy of the head must not keep those behind it waiting for longer.
    const Duration longest =
        queue_.size() > 1 ? kLongestRetryPause : std::max<Duration>(pause, kLongestRetryPause);
    WakeAfter(std::min(pause * (1 << std::min(failures_, kMaxDoublings)), longest));
    ++failures_;
  } else {
    WakeWhenDue();
  }
}

void Contention::TryHead() {
  if (queue_.empty()) return;
  if (queue_.head().trying()) {
    try_again_ = true;
    return;
  }
  if (!queue_.head().IsReady()) return;  // it is woken when it is
  wake_timer_.Cancel();
  try_again_ = false;
  announcements_.Clear();
  queue_.head().Try(rivalry_.NextOrder(env_.scheduler.Now()));
}

// Wakes at the end of the holder's TTL, or earlier to probe one node.
void Contention::WakeWhenDue() {
  if (!queue_.head().IsWokenBy(*this)) return;
  const Duration until_free = free_at_ - env_.scheduler.Now() + kAfterExpiry;
  const Duration probe = kProbePause + env_.random.UpTo(kProbeJitter);
  WakeAfter(std::max(std::min(until_free, probe), kMinRetryDelay));
}

void Contention::WakeAfter(Duration delay) {
  wake_timer_ = env_.scheduler.After(delay, [this] { OnWake(); });
}

void Contention::OnWake() {
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
  // A probe does not see that one of several slots is free.
  if (held && env_.scheduler.Now() < free_at_ && !queue_.head().command().key.IsSemaphore()) {
    queue_.head().Intend();
    if (env_.scheduler.Now() - probed_ >= pace_.pause()) ProbeOneNode();
    WakeWhenDue();
  } else {
    TryHead();
  }
}

void Contention::ProbeOneNode() {
  probed_ = env_.scheduler.Now();
  probe_node_ = (probe_node_ + 1) % env_.nodes.size();
  env_.nodes[probe_node_]->Probe(queue_.head().command().key,
                                 std::make_shared<Probe>(weak_from_this()));
}

void Contention::OnProbed(Outcome outcome) {
  if (yielding()) {
    if (outcome != Outcome::kHeld) return;
    EndYield();
    if (HeadIsIdle()) WakeAfter(kAfterYield);
  } else if (outcome == Outcome::kNotHeld) {
    TryHead();
  }
}

// Called when another daemon has or has had the key.
void Contention::EndYield() {
  free_at_ = env_.scheduler.Now();
  yield_.OnTaken(free_at_);
}

bool Contention::IsUsedAlike(const Key& wanted) const {
  return queue_.empty() || queue_.head().command().key.limit() == wanted.limit();
}

Acquisition* Contention::WhoTakesOver(const Key& released) const {
  if (queue_.empty() || hand_overs_ >= env_.options.max_hand_overs || shared_) return nullptr;
  if (!released.IsSemaphore()) {
    return HeadIsIdle() && queue_.head().command().key == released ? &queue_.head() : nullptr;
  }
  if (released.slot() == 0) return nullptr;  // the daemon does not know which one it is
  return queue_.FirstOf([wanted = released.AnySlot()](const Acquisition& waiter) {
    return !waiter.trying() && waiter.command().key == wanted;
  });
}

bool Contention::TakeOver(const Key& released, const OwnerToken& from, const ReleaseDone& done) {
  Acquisition* const next = WhoTakesOver(released);
  if (next == nullptr) return false;
  ++hand_overs_;
  if (queue_.IsHead(*next)) {
    wake_timer_.Cancel();
    announcements_.Clear();
  }
  next->TakeOver(HandOver::Start(env_, released, from, done));
  return true;
}

void Contention::OnReleased(const ReleaseResult& result) {
  // If nobody heard of it, the token may not have held the key, and the next announcement is of
  // another daemon's release.
  const Duration on_the_way = result.listeners > 0 ? env_.options.node_timeout : Duration();
  announcements_.ExpectOwnOnlyUntil(env_.scheduler.Now() + on_the_way);
  if (result.still_shared) return;
  hand_overs_ = 0;
  const int own_subscription = subscription_ ? 1 : 0;
  if (result.listeners > own_subscription) {
    yield_.Begin(env_.scheduler.Now());
    free_at_ = yield_.until();
    last_error_ = {.reason = Reason::kLockAlreadyHeld,
                   .message = "other daemons wait for the lock",
                   .retry_after = yield_.length()};
    if (HeadIsIdle()) WakeAfter(kYieldProbePause);
  } else {
    free_at_ = env_.scheduler.Now();  // one that joins later does not wait for the holder's TTL
    TryHead();
  }
}

void Contention::OnListening(NodeIndex node) {
  const std::size_t listening = announcements_.OnListening(node);
  // An announcement between the head's attempt and now may have been missed, so the head tries once
  // when a quorum listens. If no holder was seen, there was none to release, and the pause
  // continues.
  if (listening == env_.set->quorum() && last_error_.reason == Reason::kLockAlreadyHeld) {
    TryHead();
  }
}

void Contention::OnAnnounced(NodeIndex node, bool releasing) {
  // This daemon's own release is not a reason to take the key at once.
  const bool own = announcements_.TakeOwn(node, env_.scheduler.Now());
  if (own || queue_.empty() || releasing) return;
  if (yielding()) EndYield();
  if (queue_.head().trying()) {
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

}  // namespace redlock
