// Decides for one observer of a key which reads of the nodes to report: those with a new state.
// Pure.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "server/core/rounds/inspection.h"

namespace redlock {

// A state of a key, as one read found it.
struct Observed {
  enum class State {
    kHeld,       // a quorum names the same holder with the same fence
    kVacant,     // a quorum has no holder
    kUndecided,  // neither: the key may be held
  };
  State state = State::kUndecided;
  std::vector<InspectResult::Holder> held_by;
  bool shared = false;   // as in InspectResult
  int limit = 0;         // likewise
  FencingToken fence;    // the highest of the holders, and of those that were reported before
  Duration remaining{};  // until no quorum holds any token any more
  Duration kept_for{};   // if nobody holds the key, as in InspectResult
  Votes votes;
  MonotonicTime at;  // when the read ended; the durations count from here
};
using ObservedPtr = std::shared_ptr<const Observed>;

[[nodiscard]] ObservedPtr Observe(InspectResult result, MonotonicTime now);

// A read that finds no quorum does not change the last reported state. After some time without a
// quorum, the state becomes undecided.
class ObservedState {
 public:
  explicit ObservedState(MonotonicTime now) : stands_until_(now + kPatience) {}

  // `seen` is the result of a read that began after this object was made. Returns the state to
  // report, or null if there is nothing new.
  [[nodiscard]] ObservedPtr OnRead(const ObservedPtr& seen);

  // Until then, the last state stands although no quorum confirms it. Unset if the state is
  // undecided already, or if a quorum has confirmed that there is no holder.
  [[nodiscard]] std::optional<MonotonicTime> stands_until() const { return stands_until_; }

 private:
  // How long "no holder" stands, and how long an observer waits for the first state.
  static constexpr Duration kPatience = std::chrono::seconds(1);

  [[nodiscard]] bool IsOutdated(const Observed& seen) const;
  [[nodiscard]] ObservedPtr OnUndecided(const ObservedPtr& seen);
  [[nodiscard]] ObservedPtr Report(ObservedPtr next);

  ObservedPtr last_;  // reported; null: none yet
  std::optional<MonotonicTime> stands_until_;
  FencingToken highest_;    // that was reported
  FencingToken exclusive_;  // the highest of the exclusive holders
};

}  // namespace redlock
