// A lock that the client has acquired: its state, and until when it can be trusted.
//
//   held ──▶ lost       trust is down to the margin (it then ends by itself), or the daemon
//    │                  reported the loss (it ends at once)
//    └─────▶ released   trust ends before the release, or the downgrade, is sent
//
// A lost or released lease is never held again. While a lease is held, its trust is bound to the
// Session that keeps it. If that Session is abandoned, the trust is frozen until an adoption binds
// it to a new Session.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "client/cpp/core/keys.h"
#include "client/cpp/core/messages.h"
#include "client/cpp/core/trust.h"

namespace redlock::client {

class KeptLease {
 public:
  enum class State { kHeld, kLost, kReleased };

  // A lease that was granted on the Session of `keeper`. `callers_token`: the caller gave the
  // token, and may use it again. `sequence`: no adoption has had a higher one.
  KeptLease(std::string key, int slot, std::string token, bool callers_token, Duration ttl,
            Duration margin, std::shared_ptr<const SessionTrust> keeper, TimePoint valid_until,
            std::uint64_t fencing_token, std::uint64_t sequence, Duration lock_delay = {},
            std::optional<Duration> keep_for = {});

  // Without the slot of a semaphore.
  [[nodiscard]] const std::string& key() const { return key_; }
  [[nodiscard]] int slot() const { return slot_; }
  // The key with the slot.
  [[nodiscard]] std::string claim() const { return WithSlot(key_, slot_); }
  [[nodiscard]] const std::string& token() const { return token_; }
  [[nodiscard]] bool callers_token() const { return callers_token_; }
  [[nodiscard]] Duration ttl() const { return ttl_; }
  [[nodiscard]] Duration margin() const { return margin_; }
  [[nodiscard]] Duration lock_delay() const { return lock_delay_; }
  // With which the lock is released: what the release has named, and before that, of a release that
  // names nothing because the caller drops the lock.
  [[nodiscard]] const std::optional<Duration>& keep_for() const { return keep_for_; }
  [[nodiscard]] std::uint64_t fencing_token() const { return fencing_token_; }
  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] bool held() const { return state_ == State::kHeld; }
  // Why the lease was lost; unset if it was not lost.
  [[nodiscard]] const std::optional<Error>& loss() const { return loss_; }
  // True if the current Session keeps the lease alive.
  [[nodiscard]] bool kept() const { return keeper_ != nullptr; }

  // The longest TTL that was asked for, answered or not.
  [[nodiscard]] Duration longest() const { return longest_; }
  // How long the lock may last by itself.
  [[nodiscard]] Duration lasts() const { return longest_ + lock_delay_; }
  void AskedFor(Duration ttl) { longest_ = std::max(longest_, ttl); }
  // No other client can hold the key before this time. In the past if trust has ended at once.
  [[nodiscard]] TimePoint TrustedUntil() const;
  // When the loss must be signalled.
  [[nodiscard]] TimePoint SignalAt() const { return TrustedUntil() - margin_; }

  // The daemon has failed to extend the lease, and will retry.
  void NotExtended(std::string why) { obstacle_ = std::move(why); }
  // Why the last extension has failed; empty if it has not.
  [[nodiscard]] const std::string& obstacle() const { return obstacle_; }
  // The daemon has extended the lease on the Session that keeps it.
  void Extended(TimePoint valid_until, std::uint64_t fencing_token);
  // The Session that keeps the lease has been abandoned.
  void Freeze();
  // No adoption has had a higher sequence.
  [[nodiscard]] std::uint64_t sequence() const { return sequence_; }
  void PassSequence(std::uint64_t sequence) { sequence_ = std::max(sequence_, sequence); }
  // Returns the sequence of the next adoption.
  [[nodiscard]] std::uint64_t NextSequence();
  // A new Session keeps the lease from now on.
  void Adopted(std::shared_ptr<const SessionTrust> keeper, TimePoint valid_until,
               std::uint64_t fencing_token);
  // Loses the lease. Trust continues until it ends by itself, so that the work has time to stop.
  void Lose(Error why);
  void Release(std::optional<Duration> keep_for = {});
  // Ends the trust at once, also that of a lost lease.
  void EndTrust();

 private:
  void Raise(TimePoint valid_until, std::uint64_t fencing_token);

  const std::string key_;
  const int slot_;
  const std::string token_;
  const bool callers_token_;
  const Duration ttl_;
  const Duration margin_;
  const Duration lock_delay_;
  std::optional<Duration> keep_for_;
  State state_ = State::kHeld;
  std::shared_ptr<const SessionTrust> keeper_;  // null: frozen
  TimePoint valid_until_;
  Duration longest_;
  std::uint64_t fencing_token_;
  std::uint64_t sequence_;
  std::string obstacle_;
  std::optional<Error> loss_;
};

}  // namespace redlock::client
