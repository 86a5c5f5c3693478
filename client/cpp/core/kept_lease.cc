#include "client/cpp/core/kept_lease.h"

#include <algorithm>
#include <utility>

#include "client/cpp/core/check.h"

namespace redlock::client {

KeptLease::KeptLease(std::string key, int slot, std::string token, bool callers_token, Duration ttl,
                     Duration margin, std::shared_ptr<const SessionTrust> keeper,
                     TimePoint valid_until, std::uint64_t fencing_token, std::uint64_t sequence,
                     Duration lock_delay, std::optional<Duration> keep_for)
    : key_(std::move(key)),
      slot_(slot),
      token_(std::move(token)),
      callers_token_(callers_token),
      ttl_(ttl),
      margin_(margin),
      lock_delay_(lock_delay),
      keep_for_(keep_for),
      keeper_(std::move(keeper)),
      valid_until_(valid_until),
      longest_(ttl),
      fencing_token_(fencing_token),
      sequence_(sequence) {
  REDLOCK_CHECK(keeper_ != nullptr);
}

TimePoint KeptLease::TrustedUntil() const {
  return keeper_ ? std::min(valid_until_, keeper_->Until()) : valid_until_;
}

void KeptLease::Extended(TimePoint valid_until, std::uint64_t fencing_token) {
  REDLOCK_CHECK(held() && kept());
  Raise(valid_until, fencing_token);
}

void KeptLease::Freeze() {
  valid_until_ = TrustedUntil();
  keeper_ = nullptr;
  obstacle_.clear();
}

std::uint64_t KeptLease::NextSequence() {
  REDLOCK_CHECK(held() && !kept());
  sequence_ = std::max(sequence_, fencing_token_) + 1;
  return sequence_;
}

void KeptLease::Adopted(std::shared_ptr<const SessionTrust> keeper, TimePoint valid_until,
                        std::uint64_t fencing_token) {
  REDLOCK_CHECK(held() && !kept() && keeper != nullptr);
  keeper_ = std::move(keeper);
  Raise(valid_until, fencing_token);
}

void KeptLease::Lose(Error why) {
  REDLOCK_CHECK(held());
  Freeze();
  state_ = State::kLost;
  loss_ = std::move(why);
}

void KeptLease::Release(std::optional<Duration> keep_for) {
  REDLOCK_CHECK(held());
  EndTrust();
  keep_for_ = keep_for;
  state_ = State::kReleased;
}

void KeptLease::EndTrust() {
  keeper_ = nullptr;
  valid_until_ = TimePoint::min();
}

void KeptLease::Raise(TimePoint valid_until, std::uint64_t fencing_token) {
  obstacle_.clear();
  valid_until_ = std::max(valid_until_, valid_until);
  fencing_token_ = std::max(fencing_token_, fencing_token);
}

}  // namespace redlock::client
