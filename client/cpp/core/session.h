// One Session: a stream to one daemon, from the attempt to connect until it is abandoned.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>

#include "client/cpp/core/trust.h"

namespace redlock::client {

// Never used twice.
using SessionId = std::uint64_t;

class Session {
 public:
  // `patience`: how long it may take until the first ping is answered.
  Session(SessionId id, Duration grace, TimePoint opened, Duration patience);

  [[nodiscard]] SessionId id() const { return id_; }
  [[nodiscard]] const std::shared_ptr<const SessionTrust>& trust() const { return shared_trust_; }

  // Ready once the first ping has been answered; connecting before that.
  [[nodiscard]] bool ready() const { return ready_since_.has_value(); }
  [[nodiscard]] TimePoint ready_since() const { return *ready_since_; }
  void OnReady(TimePoint now) { ready_since_ = now; }

  // The transport is writing a message.
  [[nodiscard]] bool writing() const { return writing_; }
  void OnWriting() {
    writing_ = true;
    first_message_ = false;
  }
  void OnWritten() { writing_ = false; }
  // No message has been handed to the transport yet.
  [[nodiscard]] bool first_message() const { return first_message_; }

  // A message that carries `operation` with this id is handed to the transport at `now`.
  void OnSent(std::uint64_t id, std::uint64_t operation, TimePoint now);
  // Records what the answer proves. Returns the operation that is answered, if the id is known.
  [[nodiscard]] std::optional<std::uint64_t> OnAnswer(std::uint64_t id, Duration clock);
  // Returns the operation that was sent with this id, if it is not answered yet.
  [[nodiscard]] std::optional<std::uint64_t> Find(std::uint64_t id) const;
  [[nodiscard]] std::optional<TimePoint> MadeAt(Duration clock) const {
    return anchor_.MadeAt(clock);
  }

  // Detection of silence. A ping was issued.
  void OnPing(TimePoint now);
  void OnPong() { patience_ends_ = kNever; }
  // When the next ping is due; kNever while a ping is not answered.
  [[nodiscard]] TimePoint PingAt() const;
  [[nodiscard]] Duration patience() const { return patience_; }
  // When the daemon counts as silent.
  [[nodiscard]] TimePoint PatienceEnds() const { return patience_ends_; }
  // Returns true if the client itself was held up when patience ended. The Session then waits once
  // more, so that the client can read what has arrived.
  [[nodiscard]] bool WaitOnceMore(TimePoint now);

 private:
  struct Sent {
    std::uint64_t operation;
    TimePoint at;
  };

  const SessionId id_;
  const Duration grace_;
  const std::shared_ptr<SessionTrust> trust_;
  const std::shared_ptr<const SessionTrust> shared_trust_;
  ClockAnchor anchor_;
  std::optional<TimePoint> ready_since_;
  bool first_message_ = true;
  bool writing_ = false;
  Duration patience_;
  TimePoint patience_ends_;
  std::unordered_map<std::uint64_t, Sent> sent_;
};

}  // namespace redlock::client
