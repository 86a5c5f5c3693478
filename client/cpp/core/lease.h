// A lock that the client has acquired: its state, and until when it can be trusted.
//
//   held ──▶ lost       trust has come down to the margin (it then ends by itself), or the daemon
//    │                  reported the loss (it ends at once)
//    └─────▶ released   trust ends before the release is sent
//
// A lost or a released lease never comes back. While it is held, its trust is bound to the Session
// that keeps it, or frozen if that Session has been abandoned; an adoption binds it anew.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "client/cpp/core/messages.h"
#include "client/cpp/core/trust.h"

namespace redlock::client {

class Lease {
 public:
  enum class State { kHeld, kLost, kReleased };

  // Granted over the Session that `keeper` belongs to. `extensions`: how often the acquire has been
  // sent with extend_if_held; each may have moved the lease to another stream.
  Lease(std::string key, std::string token, Duration ttl, Duration margin,
        std::shared_ptr<const SessionTrust> keeper, TimePoint valid_until,
        std::uint64_t fencing_token, std::uint64_t extensions);

  [[nodiscard]] const std::string& key() const { return key_; }
  [[nodiscard]] const std::string& token() const { return token_; }
  [[nodiscard]] Duration ttl() const { return ttl_; }
  [[nodiscard]] std::uint64_t fencing_token() const { return fencing_token_; }
  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] bool held() const { return state_ == State::kHeld; }
  // Why it was lost.
  [[nodiscard]] const std::optional<Error>& loss() const { return loss_; }
  // The Session that is in use keeps it alive.
  [[nodiscard]] bool kept() const { return keeper_ != nullptr; }

  // Another client cannot hold the key before this. In the past once trust has ended at once.
  [[nodiscard]] TimePoint TrustedUntil() const;
  // When the loss has to be signalled.
  [[nodiscard]] TimePoint SignalAt() const { return TrustedUntil() - margin_; }

  // The Session that keeps it has extended it.
  void Extended(TimePoint valid_until, std::uint64_t fencing_token);
  // The Session that keeps it has been abandoned.
  void Freeze();
  // The number of the next adoption.
  [[nodiscard]] std::uint64_t NextSequence();
  // A new Session keeps it from now on.
  void Adopted(std::shared_ptr<const SessionTrust> keeper, TimePoint valid_until,
               std::uint64_t fencing_token);
  // Trust goes on until it ends by itself, for the work that has to stop.
  void Lose(Error why);
  void Release();
  // Of a lost lease that may be trusted for a moment yet.
  void EndTrust();

 private:
  void Raise(TimePoint valid_until, std::uint64_t fencing_token);

  const std::string key_;
  const std::string token_;
  const Duration ttl_;
  const Duration margin_;
  State state_ = State::kHeld;
  std::shared_ptr<const SessionTrust> keeper_;  // null: frozen
  TimePoint valid_until_;
  std::uint64_t fencing_token_;
  std::uint64_t sequence_;
  std::optional<Error> loss_;
};

}  // namespace redlock::client
