#include "server/core/keys/observation.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "server/core/check.h"
#include "server/core/safeguard.h"

namespace redlock {
namespace {

using std::chrono::milliseconds;

// Bounds the reads of a key that changes all the time.
constexpr Duration kLeastPause = milliseconds(10);
// How late a change is noticed whose announcements were lost.
constexpr Duration kLongestPause = std::chrono::seconds(2);
// The pauses while no quorum agrees.
constexpr Duration kFirstBackoff = milliseconds(100);
constexpr Duration kLongestBackoff = std::chrono::seconds(1);
// Added to the TTL that a node reported, because the node rounds it to milliseconds.
constexpr Duration kAfterTtl = milliseconds(2);

}  // namespace

Observation::Observation(const Environment& env, Key key, std::function<void()> ended)
    : env_(env),
      key_(std::move(key)),
      ended_(std::move(ended)),
      backoff_(kFirstBackoff, kLongestBackoff) {}

Observation::~Observation() {
  if (const auto read = read_.lock()) read->Cancel(Reason::kCancelled);
}

std::shared_ptr<void> Observation::Join(ObserverTold told) {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  if (!subscription_) subscription_.emplace(env_.nodes, Topic::kChanges, key_);
  const std::uint64_t id = ++last_observer_;
  observers_.emplace(id, Observer{.state = ObservedState(env_.scheduler.Now()),
                                  .told = std::make_shared<const ObserverTold>(std::move(told))});
  ReadAt(env_.scheduler.Now());
  // The pointer itself is not used.
  return {&observers_.at(id), [weak = weak_from_this(), id](void*) {
            if (const auto self = weak.lock()) self->Leave(id);
          }};
}

void Observation::Leave(std::uint64_t observer) {
  REDLOCK_DCHECK(env_.scheduler.OnStrand());
  const std::size_t left = observers_.erase(observer);
  REDLOCK_CHECK(left == 1);
  if (!observers_.empty()) return;
  subscription_.reset();
  timer_.Cancel();
  next_.reset();
  ended_();
}

void Observation::OnListening() {
  if (Has(Safeguard::kReadWhenListening)) ReadAt(env_.scheduler.Now());
}

void Observation::ReadAt(MonotonicTime when) {
  if (reading_) {
    read_again_ = true;
    return;
  }
  when = std::max(when, began_ + kLeastPause);
  if (next_ && *next_ <= when) return;
  next_ = when;
  timer_ = env_.scheduler.At(when, [this] { Read(); });
}

void Observation::Read() {
  REDLOCK_CHECK(!reading_ && !observers_.empty());
  next_.reset();
  reading_ = true;
  read_again_ = false;
  began_ = env_.scheduler.Now();
  for (auto& [id, observer] : observers_) observer.is_new = false;
  read_ = Inspection::Start(
      env_, key_,
      [weak = weak_from_this()](InspectResult result) {
        if (const auto self = weak.lock()) self->OnRead(std::move(result));
      },
      {}, true);
}

void Observation::OnRead(InspectResult result) {
  REDLOCK_CHECK(reading_);
  reading_ = false;
  if (observers_.empty()) return;
  const ObservedPtr seen = Observe(std::move(result), env_.scheduler.Now());
  Tell(seen);
  if (observers_.empty()) return;
  ReadAt(read_again_ ? env_.scheduler.Now() : NextRead(*seen));
}

void Observation::Tell(const ObservedPtr& seen) {
  std::vector<std::uint64_t> all;
  for (const auto& [id, observer] : observers_) all.push_back(id);
  for (const std::uint64_t id : all) {
    // Those who are told may leave, and others may join.
    const auto observer = observers_.find(id);
    if (observer == observers_.end() || observer->second.is_new) continue;
    const ObservedPtr news = observer->second.state.OnRead(seen);
    if (!news) continue;
    const auto told = observer->second.told;
    (*told)(news);
  }
}

MonotonicTime Observation::NextRead(const Observed& seen) {
  const MonotonicTime now = env_.scheduler.Now();
  MonotonicTime next = now + kLongestPause;
  if (seen.state == Observed::State::kUndecided) {
    next = std::min(next, now + backoff_.Next());
  } else {
    backoff_.Reset();
  }
  for (const InspectResult::Holder& holder : seen.held_by) {
    // Nothing is left of a key that does not expire, which only a stranger can have written.
    const Duration left =
        holder.remaining > Duration{} ? holder.remaining + kAfterTtl : kLongestBackoff;
    if (Has(Safeguard::kReadAtExpiry)) next = std::min(next, seen.at + left);
  }
  if (seen.kept_for > Duration{}) next = std::min(next, seen.at + seen.kept_for + kAfterTtl);
  if (seen.state != Observed::State::kUndecided) return next;
  for (const auto& [id, observer] : observers_) {
    const auto until = observer.state.stands_until();
    if (until && *until > now) next = std::min(next, *until);
  }
  return next;
}

}  // namespace redlock
