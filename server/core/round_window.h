// How many extensions, releases and attempts are under way at a time in a shard.
//
// A burst of more would not be faster: its commands would wait in the nodes' queues for longer than
// the node timeout, be taken for lost and sent again, and the more so the busier the nodes are.
// Those that wait here have not begun, so no validity runs. Extensions go first, for what is held
// matters more than what is wanted. Releases, which come by the ten thousand where a client of many
// locks has gone, go before acquisitions, which they may be for. Hand-overs do not wait.
//
// The width follows what the nodes bear: additive increase, multiplicative decrease, as TCP's
// congestion window does (RFC 5681).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "server/core/clock.h"

namespace redlock {

// One thread. Must outlive the places in it.
class RoundWindow {
 public:
  enum class Line { kExtensions, kReleases, kAcquisitions };  // in the order of their turns

  // In a line or inside; leaves when it is destroyed.
  class Place {
   public:
    Place() = default;
    ~Place() { Leave(); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    void Leave();

   private:
    friend class RoundWindow;
    RoundWindow* window_ = nullptr;
    std::pair<Line, std::uint64_t> number_;
  };

  RoundWindow(const Clock& clock, std::size_t widest);

  // Calls `start` as soon as there is room, in order of arrival: inside this call, or inside the
  // one in which another leaves.
  void Enter(Place& place, Line line, std::function<void()> start);
  // From now on nobody who waits is let in.
  void Close() { closed_ = true; }

  // A round was decided in time.
  void OnDecided();
  // A round that began at `started` ended undecided, because nodes did not answer in time.
  void OnTimedOut(MonotonicTime started);

  // How long one that enters now will wait, by the pace at which the line has moved; zero where
  // nobody waits or not enough have moved to tell.
  [[nodiscard]] Duration PredictedWait() const;

  [[nodiscard]] std::size_t width() const { return static_cast<std::size_t>(width_); }

 private:
  [[nodiscard]] bool HasRoom() const { return !closed_ && inside_ < width(); }
  void LetIn();
  void CountPace();

  const Clock& clock_;
  const double widest_;
  const double narrowest_;
  double width_;
  MonotonicTime narrowed_;
  bool closed_ = false;
  std::size_t inside_ = 0;
  std::uint64_t last_number_ = 0;

  // The pace of the lines: so many were let in since then.
  std::size_t let_in_ = 0;
  MonotonicTime pace_since_;
  std::map<std::pair<Line, std::uint64_t>, std::function<void()>> lines_;
};

}  // namespace redlock
