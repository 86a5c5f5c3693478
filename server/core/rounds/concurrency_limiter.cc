#include "server/core/rounds/concurrency_limiter.h"

#include <algorithm>
#include <utility>

#include "server/core/check.h"

namespace redlock {
namespace {
// The width grows by about this much for each full width of rounds that are decided in time.
constexpr double kGrowth = 8;
constexpr double kFirst = 64;
constexpr double kNarrowest = 16;
// A round that takes longer than the quickest ones by more than this factor and this time was
// queued.
constexpr int kQueuedFactor = 2;
constexpr Duration kQueuedTime = std::chrono::milliseconds(1);
// Nodes that have been busy all this time do not show how quick they can be.
constexpr Duration kQuickestPeriod = std::chrono::minutes(10);
// Reads at a time. Even one can take a busy node 15 ms.
constexpr double kFirstReads = 4;
constexpr double kFewestReads = 1;
// A read that takes this much longer than a queued round delays others.
constexpr Duration kLongRead = std::chrono::milliseconds(5);
constexpr std::size_t kPaceKnown = 64;
constexpr std::size_t kPaceOf = 4'096;
}  // namespace

ConcurrencyLimiter::ConcurrencyLimiter(const Clock& clock, std::size_t widest)
    : clock_(clock),
      widest_(static_cast<double>(widest)),
      narrowest_(std::min(kNarrowest, widest_)),
      usual_(std::min(kUsual, widest_)),
      width_(std::min(kFirst, widest_)),
      reads_(std::min(kFirstReads, widest_)) {}

void ConcurrencyLimiter::Enter(Permit& permit, Priority priority, Source source,
                               std::function<void()> start) {
  permit.limiter_ = this;
  permit.priority_ = priority;
  permit.source_ = source;
  permit.number_ = ++last_number_;
  const bool has_room = HasRoom() && HasRoomFor(static_cast<std::size_t>(priority));
  if (has_room && waiting_ == 0) {  // the common case needs no queue entry
    Begin(priority);
    start();
    return;
  }
  Add(permit, std::move(start));
  AdmitWaiting();
}

void ConcurrencyLimiter::Add(const Permit& permit, std::function<void()> start) {
  Queue& queue = QueueOf(permit.priority_);
  if (queue.size == 0) {
    // A priority that was empty has not accumulated a claim to permits.
    queue.pass = std::max(queue.pass, pass_);
    if (permit.priority_ == Priority::kAcquisitions) {
      admitted_ = 0;
      pace_since_ = clock_.Now();
    }
  }
  const auto [found, is_new] = queue.sources.try_emplace(permit.source_.value);
  if (is_new) found->second.turn = queue.turns.insert(queue.turns.end(), permit.source_.value);
  found->second.requests.emplace(permit.number_, std::move(start));
  ++queue.size;
  ++waiting_;
}

bool ConcurrencyLimiter::Remove(const Permit& permit) {
  Queue& queue = QueueOf(permit.priority_);
  const auto found = queue.sources.find(permit.source_.value);
  if (found == queue.sources.end() || found->second.requests.erase(permit.number_) == 0) {
    return false;
  }
  if (found->second.requests.empty()) {
    queue.turns.erase(found->second.turn);
    queue.sources.erase(found);
  }
  --queue.size;
  --waiting_;
  return true;
}

void ConcurrencyLimiter::AdmitWaiting() {
  while (HasRoom() && waiting_ > 0) {
    std::size_t next = kPriorities;
    for (std::size_t priority = 0; priority < kPriorities; ++priority) {
      if (queues_[priority].size == 0 || !HasRoomFor(priority)) continue;
      if (next == kPriorities || queues_[priority].pass < queues_[next].pass) next = priority;
    }
    if (next == kPriorities) return;  // only reads wait
    Admit(next);
  }
}

void ConcurrencyLimiter::Begin(Priority priority) {
  ++inside_;
  if (priority == Priority::kReads) ++reading_;
}

// Admits one request of the next source, which then goes to the end of the list.
void ConcurrencyLimiter::Admit(std::size_t priority) {
  REDLOCK_CHECK(priority < kPriorities && queues_[priority].size > 0);
  Queue& queue = queues_[priority];
  pass_ = std::max(pass_, queue.pass);  // reads may have waited for longer
  queue.pass = pass_ + 1 / kShares[priority];
  const auto found = queue.sources.find(queue.turns.front());
  Waiting& source = found->second;
  const auto start = source.requests.extract(source.requests.begin());
  if (source.requests.empty()) {
    queue.turns.pop_front();
    queue.sources.erase(found);
  } else {
    queue.turns.splice(queue.turns.end(), queue.turns, source.turn);
  }
  --queue.size;
  --waiting_;
  Begin(static_cast<Priority>(priority));
  if (priority == static_cast<std::size_t>(Priority::kAcquisitions)) CountPace();
  start.mapped()();
}

// Older admissions count half as much, again and again.
void ConcurrencyLimiter::CountPace() {
  if (++admitted_ < kPaceOf) return;
  pace_since_ += (clock_.Now() - pace_since_) / 2;
  admitted_ /= 2;
}

Duration ConcurrencyLimiter::PredictedWait(Source source) const {
  if (admitted_ < kPaceKnown) return {};
  const auto each = (clock_.Now() - pace_since_) / static_cast<Duration::rep>(admitted_);
  const Queue& queue = queues_[static_cast<std::size_t>(Priority::kAcquisitions)];
  const auto found = queue.sources.find(source.value);
  const std::size_t own = found == queue.sources.end() ? 0 : found->second.requests.size();
  // Its source is served once in each pass over all sources, after its earlier requests.
  const std::size_t before =
      std::min(queue.size, own * queue.sources.size() + queue.sources.size());
  return each * static_cast<Duration::rep>(before);
}

void ConcurrencyLimiter::OnDecided(MonotonicTime started, MonotonicTime now) {
  const double step = kGrowth / width_;
  const double bound = Queued(now - started, now) ? usual_ : widest_;
  width_ = width_ < bound ? std::min(width_ + step, bound) : std::max(width_ - step, bound);
}

bool ConcurrencyLimiter::Queued(Duration took, MonotonicTime now) {
  if (now - quickest_since_ > kQuickestPeriod) {
    quickest_before_ = std::exchange(quickest_, Duration::max());
    quickest_since_ = now;
  }
  quickest_ = std::min(quickest_, took);
  return took > kQueuedFactor * std::min(quickest_, quickest_before_) + kQueuedTime;
}

void ConcurrencyLimiter::OnTimedOut(MonotonicTime started) {
  // Sent before the last decrease: the timeouts of one overload count once.
  if (started < narrowed_) return;
  narrowed_ = clock_.Now();
  width_ = std::max(width_ / 2, narrowest_);
}

void ConcurrencyLimiter::OnRead(Duration took) {
  const Duration quickest = std::min(quickest_, quickest_before_);
  const bool known = quickest != Duration::max();
  if (took > kLongRead + (known ? kQueuedFactor * quickest : Duration())) {
    reads_ = std::max(reads_ / 2, std::min(kFewestReads, widest_));
  } else {
    reads_ = std::min(reads_ + 1 / reads_, widest_);
  }
}

void ConcurrencyLimiter::Permit::Leave() {
  if (limiter_ == nullptr) return;
  ConcurrencyLimiter& limiter = *std::exchange(limiter_, nullptr);
  if (limiter.Remove(*this)) return;
  REDLOCK_CHECK(limiter.inside_ > 0);
  --limiter.inside_;
  if (priority_ == Priority::kReads) --limiter.reading_;
  limiter.AdmitWaiting();
}

}  // namespace redlock
