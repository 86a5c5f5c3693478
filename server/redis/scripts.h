// The Lua script that carries out lock steps on a node (steps.lua), and the names that it shares
// with the C++ code.
//
// One call carries out many steps atomically. A script call costs a node more than
// most steps do, and so does each question that one answer settles for all steps (the mark, the
// clock).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "server/core/fnv1a.h"
#include "server/core/nodes/node.h"
#include "server/core/types.h"

namespace redlock::redis {

// The script. The comments in steps.lua define its arguments, its results, and what it stores.
[[nodiscard]] std::string_view StepsSource();
// The script that carries out steps on the node set (node_set.lua).
[[nodiscard]] std::string_view NodeSetSource();

enum class StepKind {
  kAcquire,
  kAcquireOrExtend,
  kExtend,
  kAdopt,
  kRelease,    // unconditional and announced: the common case, and the cheapest
  kReleaseIf,  // everything else that ReleaseStep can ask for
  kHandOver,
  kRepair,
  kIntend,
  kProclaim,
  kInspect,
  kMark,
  kTryGrant,
};

// What the script calls a step. It tells acquisitions and unconditional releases by their place.
[[nodiscard]] constexpr std::string_view NameOf(StepKind kind) {
  switch (kind) {
    case StepKind::kAcquire:
      return "acquire";
    case StepKind::kAcquireOrExtend:
      return "acquire_or_extend";
    case StepKind::kExtend:
      return "extend";
    case StepKind::kAdopt:
      return "adopt";
    case StepKind::kRelease:
      return "release";
    case StepKind::kReleaseIf:
      return "release_if";
    case StepKind::kHandOver:
      return "hand_over";
    case StepKind::kRepair:
      return "repair";
    case StepKind::kIntend:
      return "intend";
    case StepKind::kProclaim:
      return "proclaim";
    case StepKind::kInspect:
      return "inspect";
    case StepKind::kMark:
      return "mark";
    case StepKind::kTryGrant:
      return "try_grant";
  }
  return {};
}

// These words come before the arguments of hand-overs of one key, and of extensions that usually
// leave the metadata unchanged. No step may have one of them as its name.
inline constexpr std::string_view kHandOversWord = "hand-overs";
inline constexpr std::string_view kExtensionsWord = "extensions";

// Why a step was not carried out.
enum class Status { kTaken, kHeld, kNotHeld, kStaleFence, kWrongSet, kWrongMark, kKept, kFailed };

// Unset if the script has no such status.
[[nodiscard]] constexpr std::optional<Status> StatusOf(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, Status>, 8> kStatuses = {{
      {"taken", Status::kTaken},
      {"held", Status::kHeld},
      {"not_held", Status::kNotHeld},
      {"stale_fence", Status::kStaleFence},
      {"wrong_set", Status::kWrongSet},
      {"wrong_mark", Status::kWrongMark},
      {"kept", Status::kKept},
      {"failed", Status::kFailed},
  }};
  for (const auto& [text, status] : kStatuses) {
    if (text == name) return status;
  }
  return std::nullopt;
}

// The digest of a token that the metadata keeps, to recognize the token (FNV-1a). Two tokens with
// the same digest would at worst share a fencing token.
[[nodiscard]] inline std::uint64_t DigestOf(const OwnerToken& token) {
  return Fnv1a(token.value());
}

// Mark the origin of a holder, and its delay and value, in the metadata: see steps.lua.
inline constexpr std::string_view kOriginMark = " @";
inline constexpr char kTermsMark = '\xff';
// Represents an unknown time of acquisition.
inline constexpr std::string_view kUnknownTime = "-";

// The base of digests and ids in metadata: short, and without a space.
inline constexpr int kIdBase = 36;

// The key of the mark: the stamp of the node set (server/core/nodes/set_record.h), a space, and the
// guard's mark (server/core/nodes/node_guard.h).
inline constexpr std::string_view kMarkKey = "redlockd:mark";
// What the node stores about the node set, and the epoch that it does not leave yet (node_set.lua).
inline constexpr std::string_view kNodeKey = "redlockd:node";
inline constexpr std::string_view kWaitKey = "redlockd:wait";

// The key of Node::TryGrant(). It expires after a second.
inline constexpr std::string_view kTrialKey = "redlockd:trial";

// The channels on which releases and changes of keys are announced begin with this. The key
// follows.
[[nodiscard]] constexpr std::string_view ChannelPrefix(Topic topic) {
  switch (topic) {
    case Topic::kReleases:
      return "redlockd:released:";
    case Topic::kChanges:
      return "redlockd:changed:";
  }
  return {};
}

}  // namespace redlock::redis
