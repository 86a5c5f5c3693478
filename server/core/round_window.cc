#include "server/core/round_window.h"

#include <algorithm>

namespace redlock {
namespace {
// Added for each round: some eight more for each window's worth that was answered in time.
constexpr double kGrowth = 8;
constexpr double kFirst = 64;
constexpr double kNarrowest = 16;
constexpr std::size_t kPaceKnown = 64;
constexpr std::size_t kPaceOf = 4'096;
}  // namespace

RoundWindow::RoundWindow(const Clock& clock, std::size_t widest)
    : clock_(clock),
      widest_(static_cast<double>(widest)),
      narrowest_(std::min(kNarrowest, widest_)),
      width_(std::min(kFirst, widest_)) {}

void RoundWindow::Enter(Place& place, Line line, std::function<void()> start) {
  place.window_ = this;
  place.number_ = {line, ++last_number_};
  if (HasRoom() && lines_.empty()) {  // mostly: no entry in a line has to be made
    ++inside_;
    start();
    return;
  }
  if (lines_.empty()) {
    let_in_ = 0;
    pace_since_ = clock_.Now();
  }
  lines_.emplace(place.number_, std::move(start));
  LetIn();
}

void RoundWindow::LetIn() {
  while (HasRoom() && !lines_.empty()) {
    ++inside_;
    CountPace();
    lines_.extract(lines_.begin()).mapped()();
  }
}

// What is long ago counts for half, and half again.
void RoundWindow::CountPace() {
  if (++let_in_ < kPaceOf) return;
  pace_since_ += (clock_.Now() - pace_since_) / 2;
  let_in_ /= 2;
}

Duration RoundWindow::PredictedWait() const {
  if (let_in_ < kPaceKnown) return {};
  const auto each = (clock_.Now() - pace_since_) / static_cast<Duration::rep>(let_in_);
  return each * static_cast<Duration::rep>(lines_.size());
}

void RoundWindow::OnDecided() { width_ = std::min(width_ + kGrowth / width_, widest_); }

void RoundWindow::OnTimedOut(MonotonicTime started) {
  if (started < narrowed_) return;  // sent before that: all that were lost together count once
  narrowed_ = clock_.Now();
  width_ = std::max(width_ / 2, narrowest_);
}

void RoundWindow::Place::Leave() {
  if (window_ == nullptr) return;
  RoundWindow& window = *std::exchange(window_, nullptr);
  if (window.lines_.erase(number_) != 0) return;
  --window.inside_;
  window.LetIn();
}

}  // namespace redlock
