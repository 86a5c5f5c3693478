#include "server/core/keys/observed_state.h"

#include <algorithm>
#include <utility>

#include "server/core/check.h"
#include "server/core/safeguard.h"

namespace redlock {
namespace {

using Holder = InspectResult::Holder;
using State = Observed::State;

State StateOf(InspectResult::Agreement agreement) {
  switch (agreement) {
    case InspectResult::Agreement::kHeld:
      return State::kHeld;
    case InspectResult::Agreement::kVacant:
      return State::kVacant;
    case InspectResult::Agreement::kNone:
      break;
  }
  return Has(Safeguard::kUndecidedIsNotVacant) ? State::kUndecided : State::kVacant;
}

bool IsSameHold(const Holder& one, const Holder& other) {
  return one.fence == other.fence && one.slot == other.slot;
}

bool LooksAlike(const Holder& one, const Holder& other) {
  return IsSameHold(one, other) && one.owner.label == other.owner.label &&
         one.owner.origin == other.owner.origin && one.owner.value == other.owner.value;
}

// Whether there is nothing to report. That a holder has extended the lease is nothing.
bool LooksAlike(const Observed& one, const Observed& other) {
  return one.state == other.state && one.shared == other.shared && one.limit == other.limit &&
         (one.kept_for > Duration{}) == (other.kept_for > Duration{}) &&
         std::ranges::equal(one.held_by, other.held_by,
                            [](const Holder& a, const Holder& b) { return LooksAlike(a, b); });
}

}  // namespace

ObservedPtr Observe(InspectResult result, MonotonicTime now) {
  auto seen = std::make_shared<Observed>();
  seen->state = StateOf(result.agreement);
  seen->votes = std::move(result.votes);
  seen->at = now;
  if (seen->state == State::kVacant) seen->kept_for = result.kept_for;
  if (seen->state != State::kHeld) return seen;
  seen->held_by = std::move(result.held_by);
  for (Holder& holder : seen->held_by) {
    REDLOCK_CHECK(holder.agreed.has_value());
    holder.fence = *holder.agreed;
  }
  std::ranges::sort(seen->held_by, {}, &Holder::fence);
  seen->shared = result.shared;
  seen->limit = result.limit;
  seen->fence = seen->held_by.back().fence;
  seen->remaining = result.remaining;
  return seen;
}

// An exclusive holder follows all who were reported before. Those who share the key follow only the
// exclusive ones among them. The lock of another library has no fence.
bool ObservedState::IsOutdated(const Observed& seen) const {
  if (!Has(Safeguard::kObservedFencesNeverFall) || seen.fence.value == 0) return false;
  return seen.held_by.front().fence < (seen.shared ? exclusive_ : highest_);
}

ObservedPtr ObservedState::OnRead(const ObservedPtr& seen) {
  const bool confirmed =
      seen->state == State::kVacant || (seen->state == State::kHeld && !IsOutdated(*seen));
  if (!confirmed) return OnUndecided(seen);
  if (seen->state == State::kHeld) {
    stands_until_ = seen->at + seen->remaining;
  } else {
    stands_until_.reset();
  }
  return Report(seen);
}

ObservedPtr ObservedState::OnUndecided(const ObservedPtr& seen) {
  if (last_ && last_->state == State::kUndecided) return nullptr;
  if (!stands_until_) stands_until_ = seen->at + kPatience;
  if (seen->at < *stands_until_) return nullptr;
  stands_until_.reset();
  if (seen->state == State::kUndecided) return Report(seen);
  auto undecided = std::make_shared<Observed>();
  undecided->votes = seen->votes;
  undecided->at = seen->at;
  return Report(std::move(undecided));
}

ObservedPtr ObservedState::Report(ObservedPtr next) {
  // A quorum that has not learned a holder's newest value must not take it back.
  const auto newer = [this](const Holder& holder) -> const Owner* {
    if (!last_) return nullptr;
    const auto before = std::ranges::find_if(
        last_->held_by, [&](const Holder& other) { return IsSameHold(holder, other); });
    if (before == last_->held_by.end()) return nullptr;
    return before->owner.value_number > holder.owner.value_number ? &before->owner : nullptr;
  };
  const bool falls = next->state == State::kHeld && next->fence < highest_;
  if (falls || std::ranges::any_of(next->held_by, newer)) {
    auto corrected = std::make_shared<Observed>(*next);
    for (Holder& holder : corrected->held_by) {
      const Owner* const owner = newer(holder);
      if (owner == nullptr) continue;
      holder.owner.value = owner->value;
      holder.owner.value_number = owner->value_number;
    }
    if (falls) corrected->fence = highest_;
    next = std::move(corrected);
  }
  const bool is_new = !last_ || !LooksAlike(*last_, *next);
  if (next->state == State::kHeld) {
    highest_ = std::max(highest_, next->fence);
    if (!next->shared) exclusive_ = std::max(exclusive_, next->fence);
  }
  last_ = next;
  return is_new ? next : nullptr;
}

}  // namespace redlock
