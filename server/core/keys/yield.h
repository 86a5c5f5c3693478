// Leaves a key to other daemons for a moment after a release.
#pragma once

#include <algorithm>
#include <chrono>
#include <utility>

#include "server/core/clock.h"

namespace redlock {

// A distant daemon needs this long to receive the announcement and to ask for the key. The yield
// ends as soon as another daemon has the key, and is halved each time that none took it.
class Yield {
 public:
  void Begin(MonotonicTime now) {
    until_ = now + length_;
    undecided_ = true;
  }
  [[nodiscard]] bool IsActive(MonotonicTime now) const { return now < until_; }
  [[nodiscard]] MonotonicTime until() const { return until_; }
  // At most.
  [[nodiscard]] Duration length() const { return length_; }

  // Another daemon has or has had the key.
  void OnTaken(MonotonicTime now) {
    undecided_ = false;
    length_ = kLongest;
    until_ = now;
  }
  // After the yield: returns true, once, if no daemon took the key.
  [[nodiscard]] bool WasInVain() {
    if (!std::exchange(undecided_, false)) return false;
    length_ = std::max(length_ / 2, kShortest);
    return true;
  }

 private:
  static constexpr Duration kLongest = std::chrono::milliseconds(100);
  static constexpr Duration kShortest = std::chrono::milliseconds(2);

  Duration length_ = kLongest;
  MonotonicTime until_;
  bool undecided_ = false;  // it is not known yet whether another daemon took the key
};

}  // namespace redlock
