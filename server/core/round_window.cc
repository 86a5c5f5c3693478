#include "server/core/round_window.h"

#include <algorithm>
#include <utility>

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

void RoundWindow::Enter(Place& place, Line line, Source source, std::function<void()> start) {
  place.window_ = this;
  place.line_ = line;
  place.source_ = source;
  place.number_ = ++last_number_;
  if (HasRoom() && waiting_ == 0) {  // mostly: no entry in a line has to be made
    ++inside_;
    start();
    return;
  }
  Add(place, std::move(start));
  AdmitWaiting();
}

void RoundWindow::Add(const Place& place, std::function<void()> start) {
  Queue& queue = QueueOf(place.line_);
  if (queue.size == 0) {
    // A line that was empty has not saved up places.
    queue.pass = std::max(queue.pass, pass_);
    if (place.line_ == Line::kAcquisitions) {
      admitted_ = 0;
      pace_since_ = clock_.Now();
    }
  }
  const auto [found, is_new] = queue.sources.try_emplace(place.source_.value);
  if (is_new) found->second.turn = queue.turns.insert(queue.turns.end(), place.source_.value);
  found->second.requests.emplace(place.number_, std::move(start));
  ++queue.size;
  ++waiting_;
}

bool RoundWindow::Remove(const Place& place) {
  Queue& queue = QueueOf(place.line_);
  const auto found = queue.sources.find(place.source_.value);
  if (found == queue.sources.end() || found->second.requests.erase(place.number_) == 0) {
    return false;
  }
  if (found->second.requests.empty()) {
    queue.turns.erase(found->second.turn);
    queue.sources.erase(found);
  }
  --queue.size;
  --waiting_;
  return true;
}

void RoundWindow::AdmitWaiting() {
  while (HasRoom() && waiting_ > 0) {
    std::size_t next = kLines;
    for (std::size_t line = 0; line < kLines; ++line) {
      if (queues_[line].size == 0) continue;
      if (next == kLines || queues_[line].pass < queues_[next].pass) next = line;
    }
    Admit(next);
  }
}

// The source that is next in the line, and then goes to the end of it.
void RoundWindow::Admit(std::size_t line) {
  Queue& queue = queues_[line];
  pass_ = queue.pass;
  queue.pass += 1 / kShares[line];
  const auto found = queue.sources.find(queue.turns.front());
  Waiting& source = found->second;
  const auto start = source.requests.extract(source.requests.begin());
  if (source.requests.empty()) {
    queue.turns.pop_front();
    queue.sources.erase(found);
  } else {
    queue.turns.splice(queue.turns.end(), queue.turns, source.turn);
  }
  --queue.size;
  --waiting_;
  ++inside_;
  if (line == static_cast<std::size_t>(Line::kAcquisitions)) CountPace();
  start.mapped()();
}

// What is long ago counts for half, and half again.
void RoundWindow::CountPace() {
  if (++admitted_ < kPaceOf) return;
  pace_since_ += (clock_.Now() - pace_since_) / 2;
  admitted_ /= 2;
}

Duration RoundWindow::PredictedWait(Source source) const {
  if (admitted_ < kPaceKnown) return {};
  const auto each = (clock_.Now() - pace_since_) / static_cast<Duration::rep>(admitted_);
  const Queue& queue = queues_[static_cast<std::size_t>(Line::kAcquisitions)];
  const auto found = queue.sources.find(source.value);
  const std::size_t own = found == queue.sources.end() ? 0 : found->second.requests.size();
  // It is served once in each turn of all sources, behind its own requests.
  const std::size_t before =
      std::min(queue.size, own * queue.sources.size() + queue.sources.size());
  return each * static_cast<Duration::rep>(before);
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
  if (window.Remove(*this)) return;
  --window.inside_;
  window.AdmitWaiting();
}

}  // namespace redlock
