#include "tests/bench/open_load.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace redlock::bench {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr std::size_t kKept = 100;
constexpr seconds kKeptTtl{10};
constexpr nanoseconds kExtensionInterval = std::chrono::microseconds(2'500);  // all leases in turn
constexpr seconds kTtl{30};
constexpr seconds kPatience{20};  // for everything to be answered

double MillisSince(Clock::time_point since) {
  return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
}

}  // namespace

OpenLoad::OpenLoad(std::unique_ptr<RpcCalls> calls, OpenPlan plan)
    : calls_(std::move(calls)), plan_(std::move(plan)), slots_(plan_.most_outstanding) {
  // The lowest free slot is used first, so that a light load uses few keys.
  for (std::size_t i = slots_.size(); i > 0; --i) free_.push_back(i - 1);
  if (plan_.hands_over) hot_keys_.resize(kHotKeys);
}

OpenResult OpenLoad::Run() {
  AcquireKept();
  FillHotKeys();
  begin_ = Clock::now() + plan_.warm_up;
  end_ = begin_ + plan_.time;
  Offer();
  Drain();
  result_.seconds = std::chrono::duration<double>(plan_.time).count();
  result_.unanswered = outstanding() + extending_;
  result_.lost = calls_->lost();
  return std::move(result_);
}

void OpenLoad::AcquireKept() {
  kept_.resize(kKept);
  for (std::size_t i = 0; i < kKept; ++i) {
    v1::AcquireRequest request;
    request.set_key(plan_.kept_prefix + std::to_string(i));
    request.mutable_ttl()->set_seconds(kKeptTtl.count());
    calls_->Acquire(slots_.size() + extensions_.size(), std::move(request));
    extensions_.emplace_back();
    ++extending_;
  }
  const auto give_up = Clock::now() + kPatience;
  while (extending_ > 0) {
    if (Clock::now() > give_up) throw std::runtime_error("the first leases are not granted");
    TakeAnswers(give_up);
  }
  if (result_.failed + result_.refused_others > 0) {
    throw std::runtime_error("the first leases are refused: " + result_.why_failed);
  }
}

void OpenLoad::FillHotKeys() {
  const auto now = Clock::now();
  for (std::size_t i = 0; i < hot_keys_.size() * (kWaitersPerHotKey + 1); ++i) {
    if (!Begin(now, HotKeyOf(i, 0), i % hot_keys_.size())) {
      throw std::runtime_error("too few slots for the waiters");
    }
  }
  const auto is_free = [](const HotKey& key) { return key.holder == HotKey::kNobody; };
  while (std::ranges::any_of(hot_keys_, is_free)) {
    if (Clock::now() > now + kPatience) throw std::runtime_error("the hot keys are not granted");
    TakeAnswers(now + kPatience);
  }
}

void OpenLoad::Offer() {
  const nanoseconds interval = plan_.rate > 0
                                   ? nanoseconds(static_cast<std::int64_t>(1e9 / plan_.rate))
                                   : nanoseconds::max();
  auto extension = Clock::now();
  auto arrival = plan_.rate > 0 ? extension : Clock::time_point::max();
  double cpu = 0;
  double daemon_cpu = 0;
  bool warm = false;
  for (auto now = extension; now < end_; now = Clock::now()) {
    if (!warm && now >= begin_) {
      warm = true;
      cpu = OwnCpuMicros();
      daemon_cpu = CpuMicros(plan_.daemon);
    }
    for (; arrival <= now; arrival += interval) Arrive(arrival);
    for (; extension <= now; extension += kExtensionInterval) Extend(extension);
    TakeAnswers(std::min({arrival, extension, end_}));
  }
  result_.client_cpu_us = OwnCpuMicros() - cpu;
  result_.daemon_cpu_us = CpuMicros(plan_.daemon) - daemon_cpu;
  result_.outstanding = outstanding();
}

void OpenLoad::Drain() {
  draining_ = true;
  for (HotKey& key : hot_keys_) {
    if (key.holder != HotKey::kNobody) EndHold(key, {});  // nothing is owed
  }
  auto extension = Clock::now();
  const auto give_up = extension + kPatience;
  while (outstanding() + extending_ > 0 && Clock::now() < give_up) {
    if (outstanding() > 0) {  // the kept leases must not expire meanwhile
      for (; extension <= Clock::now(); extension += kExtensionInterval) Extend(extension);
    }
    TakeAnswers(Clock::now() + kExtensionInterval);
  }
}

void OpenLoad::Arrive(Clock::time_point due) {
  const std::size_t number = arrivals_++;
  if (Counts(due)) ++result_.offered;
  if (Counts(due)) result_.late_ms.push_back(MillisSince(due));
  if (!plan_.hands_over) {
    (void)Begin(due, KeyOf(free_.empty() ? 0 : free_.back(), 0), 0);
    return;
  }
  const std::size_t hot_key = number % hot_keys_.size();
  if (Begin(due, HotKeyOf(hot_key, 0), hot_key)) EndHold(hot_keys_[hot_key], due);
}

bool OpenLoad::Begin(Clock::time_point due, std::string key, std::size_t hot_key) {
  if (free_.empty()) {
    if (Counts(due)) ++result_.shed;
    return false;
  }
  const std::size_t number = free_.back();
  free_.pop_back();
  slots_[number] = {.state = Slot::State::kAcquiring,
                    .due = due,
                    .hot_key = hot_key,
                    .key = std::move(key),
                    .token = {}};
  v1::AcquireRequest request;
  request.set_key(slots_[number].key);
  request.mutable_ttl()->set_seconds(kTtl.count());
  calls_->Acquire(number, std::move(request));
  return true;
}

void OpenLoad::EndHold(HotKey& key, Clock::time_point due) {
  if (key.holder == HotKey::kNobody) {
    key.owed.push_back(due);
    return;
  }
  key.released = due;
  Release(std::exchange(key.holder, HotKey::kNobody));
}

void OpenLoad::Release(std::size_t number) {
  Slot& slot = slots_[number];
  slot.state = Slot::State::kReleasing;
  v1::ReleaseRequest request;
  request.set_key(slot.key);
  request.set_token(slot.token);
  calls_->Release(number, std::move(request));
}

void OpenLoad::Extend(Clock::time_point due) {
  const v1::Lease& lease = kept_[extensions_.size() % kKept];
  v1::ExtendRequest request;
  request.set_key(lease.key());
  request.set_token(lease.token());
  request.mutable_ttl()->set_seconds(kKeptTtl.count());
  calls_->Extend(slots_.size() + extensions_.size(), std::move(request));
  extensions_.push_back(due);
  ++extending_;
}

void OpenLoad::TakeAnswers(Clock::time_point until) {
  for (const Answer& answer : calls_->Wait(until)) OnAnswer(answer);
}

void OpenLoad::OnAnswer(const Answer& answer) {
  if (answer.number >= slots_.size()) {
    OnExtended(answer.number - slots_.size(), answer);
    return;
  }
  Slot& slot = slots_[answer.number];
  if (slot.state == Slot::State::kAcquiring && answer.ok()) {
    OnGranted(answer.number, answer);
    return;
  }
  if (slot.state == Slot::State::kReleasing && answer.ok()) {
    if (Counts(Clock::now())) ++result_.completed;
  } else if (slot.state == Slot::State::kAcquiring && answer.refused()) {
    if (Counts(slot.due)) ++result_.refused;
    // The release that this waiter was to follow: if it is still owed, the queue is as it was.
    if (plan_.hands_over && !hot_keys_[slot.hot_key].owed.empty()) {
      hot_keys_[slot.hot_key].owed.pop_back();
    }
  } else {
    OnFailure(answer);
  }
  Free(answer.number);
}

void OpenLoad::OnGranted(std::size_t number, const Answer& answer) {
  Slot& slot = slots_[number];
  slot.token = answer.lease.token();
  if (!plan_.hands_over) {
    if (Counts(slot.due)) result_.acquire_ms.push_back(MillisSince(slot.due));
    Release(number);
    return;
  }
  slot.state = Slot::State::kHolding;
  HotKey& key = hot_keys_[slot.hot_key];
  if (Counts(key.released)) result_.acquire_ms.push_back(MillisSince(key.released));
  key.holder = number;
  if (!key.owed.empty()) {
    const auto due = key.owed.front();
    key.owed.pop_front();
    EndHold(key, due);
  } else if (draining_) {
    EndHold(key, {});
  }
}

void OpenLoad::OnExtended(std::size_t number, const Answer& answer) {
  --extending_;
  if (!answer.ok()) {
    OnFailure(answer);
    return;
  }
  kept_[number % kKept] = answer.lease;
  const auto due = extensions_[number];
  if (Counts(due)) result_.extend_ms.push_back(MillisSince(due));
}

void OpenLoad::OnFailure(const Answer& answer) {
  if (answer.refused()) {
    ++result_.refused_others;
  } else {
    ++result_.failed;
    if (result_.why_failed.empty()) result_.why_failed = answer.reason;
  }
}

void OpenLoad::Free(std::size_t number) {
  slots_[number].state = Slot::State::kFree;
  free_.push_back(number);
}

}  // namespace redlock::bench
