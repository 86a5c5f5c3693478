#include "server/core/attempt_window.h"

#include <utility>

namespace redlock {

void AttemptWindow::Enter(Place& place, std::function<void()> start) {
  place.window_ = this;
  place.number_ = ++last_number_;
  line_.emplace(place.number_, std::move(start));
  LetIn();
}

void AttemptWindow::LetIn() {
  while (inside_ < width_ && !line_.empty()) {
    ++inside_;
    line_.extract(line_.begin()).mapped()();
  }
}

void AttemptWindow::Place::Leave() {
  if (window_ == nullptr) return;
  AttemptWindow& window = *std::exchange(window_, nullptr);
  if (window.line_.erase(number_) != 0) return;
  --window.inside_;
  window.LetIn();
}

}  // namespace redlock
