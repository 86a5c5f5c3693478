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
  // False where there is no room for a step that looks for this mark: the batch goes out first.
  [[nodiscard]] bool TakesMark(std::string_view mark) const { return !looks_ || mark == mark_; }

  // Read before this returns.
  void Add(const AcquireStep& step);
  void Add(const HandOverStep& step);
  void Add(const ExtendStep& step);
  void Add(const RepairStep& step);
  void Add(const ReleaseStep& step);
  void Add(const Key& to_inspect);
  void Add(const MarkStep& step);

  // The command.
  [[nodiscard]] std::string Command(std::string_view hash, std::string_view retention_ms) const;

 private:
  void Begin(StepKind kind, const Key& key);
  void Argument(std::string_view word);
  void Argument(const char* word) { Argument(std::string_view(word)); }
  void Argument(const std::optional<Keeper>& keeper);  // two words: number and id
  void ExpectMark(std::string_view mark);

  std::string keys_;  // in RESP
  std::string arguments_;
  std::size_t argument_count_ = 0;
  std::size_t size_ = 0;
  bool looks_ = false;
  std::string mark_;
};

}  // namespace redlock::redis
