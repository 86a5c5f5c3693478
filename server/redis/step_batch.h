// Steps for one node that go out as one call of the script.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "server/core/nodes/steps.h"
#include "server/redis/scripts.h"

namespace redlock::redis {

// The step of Node::TryGrant().
struct TryGrantStep {};

// The keys of steps that name none.
[[nodiscard]] const Key& MarkKey();
[[nodiscard]] const Key& TrialKey();

// The script carries out a batch group by group, and answers in this order. The two common steps
// have groups of their own, because many of them at once cost a node much less.
enum class StepGroup { kAcquisition, kRelease, kOther };
inline constexpr std::size_t kStepGroups = 3;

class StepBatch {
 public:
  // Keys in one call, but for those of the last step. Fewer cost the node more; with more, nobody
  // has anything to do while it is filled, nor while the node, which does nothing else meanwhile,
  // carries it out.
  static constexpr std::size_t kMost = 32;
  // Inspections in one call. Their replies can have 1 MiB each.
  static constexpr std::size_t kMostInspections = 8;

  [[nodiscard]] static StepGroup GroupOf(const AcquireStep& step);
  [[nodiscard]] static StepGroup GroupOf(const ReleaseStep& step);
  template <typename Step>
  [[nodiscard]] static StepGroup GroupOf(const Step& /*step*/) {
    return StepGroup::kOther;
  }

  [[nodiscard]] std::size_t size() const { return steps_; }
  // Whether no further step may be added.
  [[nodiscard]] bool full() const {
    return keys_.size() >= kMost || inspections_ == kMostInspections;
  }
  // Whether a step of this group on this key may be added: groups are reordered, so the steps on
  // one key must be in one group, which keeps their order. Otherwise the batch is sent first. May
  // say no without need.
  [[nodiscard]] bool Takes(StepGroup group, const Key& key) const;
  // Whether a step with this expectation fits into the batch. Otherwise the batch is sent first.
  [[nodiscard]] bool Takes(const Expected& expected) const;

  // The steps are read before these return.
  void Add(const AcquireStep& step);
  void Add(const HandOverStep& step);
  void Add(const ExtendStep& step);
  void Add(const RepairStep& step);
  void Add(const ReleaseStep& step);
  void Add(const IntendStep& step);
  void Add(const ProclaimStep& step);
  void Add(const InspectStep& step);
  void Add(const MarkStep& step);
  void Add(const TryGrantStep& step);

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

    void Key(std::string_view key);
    void MetaKey(std::string_view key);
    void Argument(std::string_view word);
    void Argument(const char* word) { Argument(std::string_view(word)); }
    // One word of two parts.
    void Argument(std::string_view part, std::string_view rest);
    void Argument(const std::optional<Keeper>& keeper);  // two words: number and id
  };

  Words& Begin(StepGroup group, const Key& key);
  Words& BeginOther(StepKind kind, const Key& key);
  void Expect(const Expected& expected);

  std::array<Words, kStepGroups> groups_;
  struct HashedKey {
    std::size_t hash = 0;
    StepGroup group = StepGroup::kOther;
  };
  std::vector<HashedKey> keys_;  // of all steps
  std::size_t steps_ = 0;
  std::size_t inspections_ = 0;
  FencingToken lowest_;  // that the plain acquisitions propose
  FencingToken highest_;
  Duration longest_ttl_{};  // of acquisitions, with the lock delay
  // What all steps that compare anything expect. A step that grants brings the mark.
  std::string stamp_;
  std::string mark_;
};

}  // namespace redlock::redis
