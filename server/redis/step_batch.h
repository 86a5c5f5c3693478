// Steps for one node that go out as one call of the script.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "server/core/nodes/steps.h"
#include "server/redis/step_writer.h"

namespace redlock::redis {

class StepBatch {
 public:
  // Keys in one call, but for those of the last step. Fewer cost the node more; with more, nobody
  // has anything to do while it is filled, nor while the node, which does nothing else meanwhile,
  // carries it out.
  static constexpr std::size_t kMost = 32;
  // Inspections in one call. Their replies can have 1 MiB each.
  static constexpr std::size_t kMostInspections = 8;

  [[nodiscard]] std::size_t size() const { return steps_; }
  // Whether no further step may be added.
  [[nodiscard]] bool full() const {
    return keys_.size() >= kMost || inspections_ == kMostInspections;
  }
  // Whether this step may be added: groups are reordered, so the steps on one key must be in one
  // group, which keeps their order. Otherwise the batch is sent first. May say no without need.
  [[nodiscard]] bool Takes(const StepText& step) const;
  // Whether a step with this expectation fits into the batch. Otherwise the batch is sent first.
  [[nodiscard]] bool Takes(const Expected& expected) const;

  void Add(const StepText& step, const Expected& expected);

  // The command. `retention`: how long metadata outlives its key.
  [[nodiscard]] std::string Command(std::string_view hash, Duration retention) const;

 private:
  // Of the steps of one group.
  struct Words {
    std::string keys;  // in RESP
    std::string arguments;
    std::size_t key_count = 0;
    std::size_t argument_count = 0;
    std::size_t steps = 0;
    // The lowest and the highest fence that the steps propose, if they are acquisitions or
    // hand-overs.
    FencingToken lowest;
    FencingToken highest;
  };

  std::array<Words, kStepGroups> groups_;
  struct HashedKey {
    std::size_t hash = 0;
    StepGroup group = StepGroup::kOther;
  };
  std::vector<HashedKey> keys_;  // of all steps
  std::size_t steps_ = 0;
  std::size_t inspections_ = 0;
  Duration longest_ttl_{};  // of acquisitions, hand-overs and extensions, with the lock delay
  // What all steps that compare anything expect. A step that grants brings the mark.
  std::string stamp_;
  std::string mark_;
};

}  // namespace redlock::redis
