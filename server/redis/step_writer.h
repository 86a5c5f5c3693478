// Writes steps in the words of the script's arguments (steps.lua), in RESP.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <variant>
#include <vector>

#include "server/core/nodes/steps.h"
#include "server/redis/scripts.h"

namespace redlock::redis {

// The step of Node::TryGrant().
struct TryGrantStep {};

// The script carries out a batch group by group, and answers in this order. The common steps have
// groups of their own, because a node executes many of them together at a much lower cost.
enum class StepGroup { kAcquisition, kRelease, kHandOver, kExtension, kOther };
inline constexpr std::size_t kStepGroups = 5;

// One step, apart from what it expects of a node: the same for all nodes.
struct StepText {
  StepGroup group = StepGroup::kOther;
  std::vector<std::size_t> key_hashes;
  std::string keys;  // in RESP
  std::string arguments;
  std::size_t key_count = 0;
  std::size_t argument_count = 0;
  FencingToken fence;      // of a step of kAcquisition or kHandOver
  Duration longest_ttl{};  // of a step that acquires or of kExtension, with the lock delay
  bool inspects = false;
};

// Shared by the nodes of a shard. A round sends one step to all of them, one after the other, so
// the writer keeps the last text and returns it again. Strand-confined.
class StepWriter {
 public:
  // The result is valid until the next call.
  [[nodiscard]] const StepText& Write(const AcquireStep& step) { return WriteOnce(step); }
  [[nodiscard]] const StepText& Write(const ExtendStep& step) { return WriteOnce(step); }
  [[nodiscard]] const StepText& Write(const ReleaseStep& step) { return WriteOnce(step); }
  template <typename Step>
  [[nodiscard]] const StepText& Write(const Step& step) {
    last_ = std::monostate();
    Set(step);
    return text_;
  }

 private:
  // Copies of everything that the last text was written from.
  using LastAcquire =
      std::tuple<Key, OwnerToken, Duration, Duration, FencingToken, AttemptId, Owner, bool>;
  using LastExtend = std::tuple<Key, OwnerToken, Duration, Duration, FencingToken, Duration,
                                std::optional<Keeper>, bool, FencingToken>;

  template <typename Step>
  using Last =
      std::conditional_t<std::is_same_v<Step, AcquireStep>, LastAcquire,
                         std::conditional_t<std::is_same_v<Step, ExtendStep>, LastExtend, Step>>;

  template <typename Step>
  const StepText& WriteOnce(const Step& step);

  void Set(const AcquireStep& step);
  void Set(const HandOverStep& step);
  void Set(const ExtendStep& step);
  void Set(const RepairStep& step);
  void Set(const ReleaseStep& step);
  void Set(const IntendStep& step);
  void Set(const ProclaimStep& step);
  void Set(const InspectStep& step);
  void Set(const MarkStep& step);
  void Set(const TryGrantStep& step);

  void Begin(StepGroup group, const Key& key);
  // A step on one key, in a group of its own.
  void BeginPlain(StepGroup group, const Key& key);
  void BeginOther(StepKind kind, const Key& key);
  void AddKey(std::string_view key);
  void AddMetaKey(std::string_view key);
  void Argument(std::string_view word);
  void Argument(const char* word) { Argument(std::string_view(word)); }
  // One word of two or three parts.
  void Argument(std::string_view first, std::string_view second, std::string_view third = {});
  void Argument(const std::optional<Keeper>& keeper);  // two words: number and id

  StepText text_;
  std::variant<std::monostate, LastAcquire, LastExtend, ReleaseStep> last_;
};

}  // namespace redlock::redis
