#include "server/core/round_window.h"

#include <algorithm>

namespace redlock {
namespace {
// Added for each round: some eight more for each window's worth that was answered in time.
constexpr double kGrowth = 8;
constexpr double kFirst = 64;
constexpr double kNarrowest = 16;
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
  lines_.emplace(place.number_, std::move(start));
  LetIn();
}

void RoundWindow::LetIn() {
  while (HasRoom() && !lines_.empty()) {
    ++inside_;
    lines_.extract(lines_.begin()).mapped()();
  }
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
