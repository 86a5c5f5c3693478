// Counters of a shard since startup, incremented where decisions are made. Strand-confined: readers
// copy them on the shard's strand.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <vector>

#include "server/core/types.h"

namespace redlock {

// A histogram of durations with fixed bounds, in seconds, as in Prometheus.
template <const auto& kBounds>
class HistogramWith {
 public:
  static constexpr const auto& kBoundsSeconds = kBounds;

  void Add(Duration duration) {
    const double seconds = std::chrono::duration<double>(duration).count();
    const auto bound = std::lower_bound(kBoundsSeconds.begin(), kBoundsSeconds.end(), seconds);
    ++counts_[static_cast<std::size_t>(bound - kBoundsSeconds.begin())];
    sum_ += seconds;
  }
  HistogramWith& operator+=(const HistogramWith& other) {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    sum_ += other.sum_;
    return *this;
  }
  // What was added since `earlier`, a copy of this histogram.
  [[nodiscard]] HistogramWith Since(const HistogramWith& earlier) const {
    HistogramWith since = *this;
    for (std::size_t i = 0; i < counts_.size(); ++i) since.counts_[i] -= earlier.counts_[i];
    since.sum_ -= earlier.sum_;
    return since;
  }

  // The duration that this part of all durations does not exceed, in seconds: estimated, as if the
  // durations of an interval were spread evenly over it. Above the last bound: that bound. Nothing
  // if there are no durations.
  [[nodiscard]] std::optional<double> QuantileSeconds(double part) const {
    const double wanted = part * static_cast<double>(count());
    double below = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      const auto here = static_cast<double>(counts_[i]);
      if (here == 0 || below + here < wanted) {
        below += here;
        continue;
      }
      if (i == kBoundsSeconds.size()) return kBoundsSeconds.back();
      const double from = i == 0 ? 0 : kBoundsSeconds[i - 1];
      return from + (kBoundsSeconds[i] - from) * (wanted - below) / here;
    }
    return std::nullopt;
  }

  // One count for each interval, not cumulative; the last interval has no upper bound.
  [[nodiscard]] const auto& counts() const { return counts_; }
  [[nodiscard]] std::uint64_t count() const {
    return std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{});
  }
  [[nodiscard]] double sum_seconds() const { return sum_; }

 private:
  std::array<std::uint64_t, kBoundsSeconds.size() + 1> counts_{};
  double sum_ = 0;
};

// From 50 µs (no round is faster) to 10 s (the scale of a wait).
inline constexpr std::array<double, 17> kShortBounds = {
    0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02,
    0.05,    0.1,    0.2,    0.5,    1,     2,     5,     10};
using Histogram = HistogramWith<kShortBounds>;

// From 1 ms to a day, because jobs and people may hold locks, and wait for them, that long.
inline constexpr std::array<double, 17> kLongBounds = {
    0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3'600, 14'400, 43'200, 86'400};
using LongHistogram = HistogramWith<kLongBounds>;

// Counts operations by their result.
class Results {
 public:
  void Add(const std::optional<Reason>& failure) {
    ++(failure ? failed_[static_cast<std::size_t>(*failure)] : done_);
  }
  Results& operator+=(const Results& other) {
    done_ += other.done_;
    for (std::size_t i = 0; i < failed_.size(); ++i) failed_[i] += other.failed_[i];
    return *this;
  }

  [[nodiscard]] std::uint64_t done() const { return done_; }
  [[nodiscard]] std::uint64_t failed(Reason reason) const {
    return failed_[static_cast<std::size_t>(reason)];
  }

 private:
  std::uint64_t done_ = 0;
  std::array<std::uint64_t, kReasons.size()> failed_{};
};

struct NodeStatistics {
  std::array<std::uint64_t, kOutcomes.size()> votes{};  // by outcome
  std::uint64_t quarantines = 0;                        // how often the node was quarantined
  Histogram answer_times;  // from a step of a round to its answer, also a late one; not of errors

  NodeStatistics& operator+=(const NodeStatistics& other) {
    for (std::size_t i = 0; i < votes.size(); ++i) votes[i] += other.votes[i];
    quarantines += other.quarantines;
    answer_times += other.answer_times;
    return *this;
  }
};

// Of the keys of one group (key_groups.h).
struct GroupStatistics {
  LongHistogram waits;  // from the request to the acquisition
  LongHistogram holds;  // from the acquisition to the release or the loss, of watched leases

  GroupStatistics& operator+=(const GroupStatistics& other) {
    waits += other.waits;
    holds += other.holds;
    return *this;
  }
};

struct Statistics {
  explicit Statistics(std::size_t count, std::size_t of_groups = 1)
      : nodes(count), groups(of_groups) {}

  Results acquisitions, extensions, releases;  // extensions include those of watchdogs
  Histogram acquisition_times;                 // successful ones, including the wait
  Histogram round_times;                       // from the first byte to the decision
  std::uint64_t hand_overs = 0;                // started
  std::uint64_t lost_leases = 0;               // reported by a watchdog
  std::vector<NodeStatistics> nodes;
  std::vector<GroupStatistics> groups;

  Statistics& operator+=(const Statistics& other) {
    acquisitions += other.acquisitions;
    extensions += other.extensions;
    releases += other.releases;
    acquisition_times += other.acquisition_times;
    round_times += other.round_times;
    hand_overs += other.hand_overs;
    lost_leases += other.lost_leases;
    for (std::size_t i = 0; i < nodes.size(); ++i) nodes[i] += other.nodes[i];
    groups.resize(std::max(groups.size(), other.groups.size()));
    for (std::size_t i = 0; i < other.groups.size(); ++i) groups[i] += other.groups[i];
    return *this;
  }
};

}  // namespace redlock
