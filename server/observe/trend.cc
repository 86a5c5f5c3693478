#include "server/observe/trend.h"

#include <utility>

namespace redlock::observe {

void Trend::Add(Clock::time_point now, WallTime at, const Statistics& statistics) {
  AddAnswers(now, statistics);
  const Sample sample{.at = now,
                      .acquired = statistics.acquisitions.done(),
                      .waited_seconds = statistics.acquisition_times.sum_seconds()};
  const auto before = std::exchange(last_, sample);
  if (!before || before->at >= now) return;
  const auto acquired = static_cast<double>(sample.acquired - before->acquired);
  const double seconds = std::chrono::duration<double>(now - before->at).count();
  Point point{.at = at, .acquired_per_second = acquired / seconds, .wait = {}};
  if (acquired > 0) {
    const double mean = (sample.waited_seconds - before->waited_seconds) / acquired;
    point.wait = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(mean));
  }
  points_.push_back(point);
  if (points_.size() > kMost) points_.pop_front();
}

void Trend::AddAnswers(Clock::time_point now, const Statistics& statistics) {
  Answers& added = answers_.emplace_back(Answers{.at = now, .times = {}});
  for (const NodeStatistics& node : statistics.nodes) added.times.push_back(node.answer_times);
  // The sample before the first one of the minute is where the minute begins.
  while (answers_.size() > 2 && answers_[1].at <= now - kAnswersPeriod) answers_.pop_front();
}

Histogram Trend::AnswerTimes(NodeIndex node) const {
  if (answers_.empty()) return {};
  return answers_.back().times.at(node).Since(answers_.front().times.at(node));
}

}  // namespace redlock::observe
