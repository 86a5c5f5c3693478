#include "client/cpp/core/session.h"

#include <algorithm>

namespace redlock::client {
namespace {

// The daemon requires a message at least every third of `grace`.
constexpr int kPingsPerGrace = 4;
constexpr int kPatiencesPerGrace = 3;
constexpr Duration kLongestPatience = std::chrono::seconds(2);

}  // namespace

Session::Session(SessionId id, Duration grace, TimePoint opened, Duration patience)
    : id_(id),
      grace_(grace),
      trust_(std::make_shared<SessionTrust>(grace)),
      shared_trust_(trust_),
      patience_(patience),
      patience_ends_(opened + patience) {}

void Session::OnSent(std::uint64_t id, std::uint64_t operation, TimePoint now) {
  sent_.emplace(id, Sent{operation, now});
}

std::optional<std::uint64_t> Session::OnAnswer(std::uint64_t id, Duration clock) {
  const auto found = sent_.find(id);
  if (found == sent_.end()) return std::nullopt;
  const Sent sent = found->second;
  sent_.erase(found);
  trust_->OnAnswer(sent.at);
  anchor_.OnAnswer(sent.at, clock);
  return sent.operation;
}

std::optional<std::uint64_t> Session::Find(std::uint64_t id) const {
  const auto found = sent_.find(id);
  if (found == sent_.end()) return std::nullopt;
  return found->second.operation;
}

void Session::OnPing(TimePoint now) {
  patience_ = std::min(grace_ / kPatiencesPerGrace, kLongestPatience);
  patience_ends_ = now + patience_;
}

TimePoint Session::PingAt() const {
  if (patience_ends_ != kNever) return kNever;
  return trust_->heard() + grace_ / kPingsPerGrace;
}

bool Session::WaitOnceMore(TimePoint now) {
  if (now - patience_ends_ <= patience_ / 4) return false;
  patience_ends_ = now + patience_;
  return true;
}

}  // namespace redlock::client
