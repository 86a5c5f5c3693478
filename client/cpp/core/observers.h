// The observers of a client: each follows who holds a key until it is closed, and moves to the next
// endpoint when its stream ends.
//
//   stream:  a state ──▶ reported, unless it equals the last one or its fencing token is lower
//            breaks  ──▶ the last state stands for a while, then UNDECIDED is reported, once
//   reader:  Take() returns the latest state that was reported
//
// Like Machine: no threads, no clock and no transport of its own; not thread-safe; a driver calls
// it for every event and then carries out the effects.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/cpp/core/connector.h"
#include "client/cpp/core/effects.h"
#include "redlock/observer.h"

namespace redlock::client {

// Returns an error if the key cannot be observed: it must be a single one.
[[nodiscard]] std::optional<Error> CheckObserved(const std::string& key);

class Observers {
 public:
  // `endpoints` are used in messages only.
  Observers(std::vector<std::string> endpoints, Clock& clock, Random& random);

  // The key must be valid.
  ObserverId Start(const std::string& key);
  // Ends the observer, which then has no state for its reader any more. Does nothing if it has
  // ended.
  void Close(ObserverId observer);
  void CloseAll(const Error& why);
  // The reader has gone: closes the observer and forgets it.
  void Forget(ObserverId observer);

  // What the reader gets next: a state, or why there is no further one. Unset: nothing yet;
  // Observed follows when there is something.
  [[nodiscard]] std::optional<Result<KeyState>> Take(ObserverId observer);

  // Ignored if `attempt` is not the current stream of the observer.
  void OnState(ObserverId observer, std::uint64_t attempt, KeyState state);
  // The stream has ended. `final`: no other attempt can help.
  void OnEnded(ObserverId observer, std::uint64_t attempt, const Error& why, bool final);

  void Tick();
  // When Tick() must be called next; kNever: nothing is due.
  [[nodiscard]] TimePoint NextDeadline() const;

  [[nodiscard]] std::vector<Effect> TakeEffects();

 private:
  struct Observer {
    std::string key;
    Connector route;
    std::vector<std::string> failures;  // the last one at each endpoint; empty: none
    std::uint64_t attempt = 0;          // the last one
    std::optional<TimePoint> opened{};  // when its stream was opened; unset: it has ended
    bool heard = false;                 // the stream has reported a state
    std::optional<KeyState> taken{};    // what the reader got last
    std::optional<KeyState> pending{};  // what the reader gets next
    std::uint64_t highest_fence = 0;    // that was reported
    std::uint64_t exclusive_fence = 0;  // the same, of exclusive holders only
    TimePoint stands_until{};           // how long the last state stands without a stream
    TimePoint undecided_at = kNever;    // when to report that nothing is known
    std::optional<Error> ended{};
  };
  using Started = std::map<ObserverId, Observer>;

  [[nodiscard]] static bool Passes(Observer& observer, KeyState& state);
  void Open(ObserverId id, Observer& observer);
  void Move(ObserverId id, Observer& observer);
  [[nodiscard]] bool IsDue(const Observer& observer) const;
  void Report(ObserverId id, Observer& observer, KeyState state);
  void End(ObserverId id, Observer& observer, const Error& why);
  [[nodiscard]] Error WhyUndecided(const Observer& observer) const;

  const std::vector<std::string> endpoints_;
  Clock& clock_;
  Random& random_;
  TimePoint now_;
  ObserverId last_observer_ = 0;
  std::uint64_t last_attempt_ = 0;
  Started started_;
  std::vector<Effect> effects_;
};

}  // namespace redlock::client
