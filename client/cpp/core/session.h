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
  // `patience`: how long connecting may take, until the first ping is answered.
  Session(SessionId id, Duration grace, TimePoint opened, Duration patience);

  [[nodiscard]] SessionId id() const { return id_; }
  [[nodiscard]] const std::shared_ptr<const SessionTrust>& trust() const { return shared_trust_; }

  // Connecting until the first ping has been answered.
  [[nodiscard]] bool ready() const { return ready_since_.has_value(); }
  [[nodiscard]] TimePoint ready_since() const { return *ready_since_; }
  void OnReady(TimePoint now) { ready_since_ = now; }

  // A message is with the transport.
  [[nodiscard]] bool writing() const { return writing_; }
  void OnWriting() {
    writing_ = true;
    first_message_ = false;
  }
  void OnWritten() { writing_ = false; }
  // Nothing has been handed to the transport yet.
  [[nodiscard]] bool first_message() const { return first_message_; }

  // The message that carries `operation` under this id is handed to the transport at `now`.
  void OnSent(std::uint64_t id, std::uint64_t operation, TimePoint now);
  // Which operation is answered, if the id is known; and what the answer proves.
  [[nodiscard]] std::optional<std::uint64_t> OnAnswer(std::uint64_t id, Duration clock);
  // Which operation was sent under this id and waits for its answer.
  [[nodiscard]] std::optional<std::uint64_t> Find(std::uint64_t id) const;
  [[nodiscard]] std::optional<TimePoint> MadeAt(Duration clock) const {
    return anchor_.MadeAt(clock);
  }

  // Silence: a ping waits for its answer.
  void OnPing(TimePoint now);
  void OnPong() { patience_ends_ = kNever; }
  // When the next ping is due; kNever while one waits for its answer.
  [[nodiscard]] TimePoint PingAt() const;
  // When the daemon counts as silent.
  [[nodiscard]] TimePoint PatienceEnds() const { return patience_ends_; }
  // True if the client itself was held up when patience ended. It then waits once more, to read
  // what has arrived meanwhile.
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
