// Steps for one node that go out as one call of the script.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "server/core/nodes/steps.h"
#include "server/redis/scripts.h"

namespace redlock::redis {

class StepBatch {
 public:
  // In one call. Fewer cost the node more; with more, nobody has anything to do while it is filled,
  // nor while the node, which does nothing else meanwhile, carries it out.
  static constexpr std::size_t kMost = 32;

  [[nodiscard]] std::size_t size() const { return size_; }
  // Whether a step with this expectation fits into the batch. Otherwise the batch is sent first.
  [[nodiscard]] bool Takes(const Expected& expected) const;

  // Read before this returns.
  void Add(const AcquireStep& step);
  void Add(const HandOverStep& step);
  void Add(const ExtendStep& step);
  void Add(const RepairStep& step);
  void Add(const ReleaseStep& step);
  void Add(const InspectStep& step);
  void Add(const MarkStep& step);

  // The command.
  [[nodiscard]] std::string Command(std::string_view hash, std::string_view retention_ms) const;

 private:
  void Begin(StepKind kind, const Key& key);
  void Argument(std::string_view word);
  void Argument(const char* word) { Argument(std::string_view(word)); }
  void Argument(const std::optional<Keeper>& keeper);  // two words: number and id
  void Expect(const Expected& expected);

  std::string keys_;  // in RESP
  std::string arguments_;
  std::size_t argument_count_ = 0;
  std::size_t size_ = 0;
  // What all steps that compare anything expect. A step that grants brings the mark.
  std::string stamp_;
  std::string mark_;
};

}  // namespace redlock::redis
