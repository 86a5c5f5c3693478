// The watches of a client: each has the daemons extend some locks until it is closed, and moves to
// the next endpoint when its stream ends.
//
// Like Machine: no threads, no clock and no transport of its own; not thread-safe; a driver calls
// it for every event and then carries out the effects.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "client/cpp/core/connector.h"
#include "client/cpp/core/effects.h"

namespace redlock::client {

// Returns an error if an item is invalid.
[[nodiscard]] std::optional<Error> CheckItems(const std::vector<WatchItem>& items);

class Watches {
 public:
  // `first_event`: how long the first event of a stream may take, connecting included.
  Watches(std::size_t endpoints, Clock& clock, Random& random,
          Duration first_event = std::chrono::milliseconds(3'500));

  // The items must be valid. Reports Watched events until kEnded.
  WatchId Start(std::vector<WatchItem> items, const WatchOptions& options);
  // Does nothing if the watch has ended.
  void Close(WatchId watch);
  void CloseAll(const Error& why);

  // Ignored if `attempt` is not the current stream of the watch.
  void OnEvent(WatchId watch, std::uint64_t attempt, const Event& event);
  // The stream has ended; `why` is unset if it ended with OK.
  void OnEnded(WatchId watch, std::uint64_t attempt, const std::optional<Error>& why);

  void Tick();
  // When Tick() must be called next; kNever: nothing is due.
  [[nodiscard]] TimePoint NextDeadline() const;

  [[nodiscard]] std::vector<Effect> TakeEffects();

 private:
  struct Watch {
    std::vector<WatchItem> items;
    bool keep_watching = true;
    Connector route;
    std::uint64_t attempt = 0;          // the last one
    std::optional<TimePoint> opened{};  // when its stream was opened; unset: it has ended
    bool heard = false;                 // the stream has reported an event
    TimePoint silent_at = kNever;       // when the daemon counts as silent, while it is open
  };
  using Started = std::map<WatchId, Watch>;

  [[nodiscard]] static std::string KeyOf(const Watch& watch, const Event& event);
  void Open(WatchId id, Watch& watch);
  void Move(WatchId id, Watch& watch);
  [[nodiscard]] static Duration Patience(const Watch& watch);
  [[nodiscard]] bool IsDue(const Watch& watch) const;
  void End(Started::iterator found, Error why);
  void Report(WatchId id, WatchEvent event);

  const std::size_t endpoints_;
  Clock& clock_;
  Random& random_;
  const Duration first_event_;
  TimePoint now_;
  WatchId last_watch_ = 0;
  std::uint64_t last_attempt_ = 0;
  Started started_;
  std::vector<Effect> effects_;
};

}  // namespace redlock::client
