#include "server/core/round_window.h"

#include <algorithm>

namespace redlock {
namespace {
// Added for each round: some eight more for each window's worth that was answered in time.
constexpr double kGrowth = 8;
}  // namespace

void RoundWindow::Enter(Place& place, Line line, std::function<void()> start) {
  place.window_ = this;
  place.number_ = {line, ++last_number_};
  lines_.emplace(place.number_, std::move(start));
  LetIn();
}

void RoundWindow::LetIn() {
  while (!closed_ && inside_ < width() && !lines_.empty()) {
    ++inside_;
    lines_.extract(lines_.begin()).mapped()();
  }
}

void RoundWindow::OnDecided() {
  width_ = std::min(width_ + kGrowth / width_, static_cast<double>(widest_));
}

void RoundWindow::OnTimedOut(MonotonicTime started) {
  if (started < narrowed_) return;  // sent before that: all that were lost together count once
  narrowed_ = clock_.Now();
  width_ = std::max(width_ / 2, std::min(kNarrowest, static_cast<double>(widest_)));
}

void RoundWindow::Place::Leave() {
  if (window_ == nullptr) return;
  RoundWindow& window = *std::exchange(window_, nullptr);
  if (window.lines_.erase(number_) != 0) return;
  --window.inside_;
  window.LetIn();
}

}  // namespace redlock
