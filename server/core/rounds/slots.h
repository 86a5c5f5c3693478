// Which slot of a semaphore an attempt asks for, and how a key is in use by others.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "server/core/random.h"
#include "server/core/rounds/round.h"

namespace redlock {

// At random among those that may still be free at a quorum, as far as the nodes that denied told.
// 0 if there is none. Nodes that did not answer will not grant the next slot, either.
[[nodiscard]] inline int PickSlot(const Round& round, int limit, Random& random) {
  std::vector<std::size_t> in_use(static_cast<std::size_t>(limit));  // on how many nodes
  for (const Vote& vote : round.votes()) {
    if (vote.outcome != Outcome::kHeld && !IsUnknown(vote.outcome)) continue;
    const NodeReply* const denial =
        vote.outcome == Outcome::kHeld ? round.reply(vote.node) : nullptr;
    // A token gets no second slot on a node.
    const bool no_slot =
        denial == nullptr || denial->own_slot != 0 || LimitIn(denial->holder.value()) != limit;
    for (std::size_t i = 0; i < in_use.size(); ++i) {
      if (no_slot || denial->used_slots[i]) ++in_use[i];
    }
  }
  std::vector<int> free;
  for (std::size_t i = 0; i < in_use.size(); ++i) {
    if (in_use[i] < round.set().blocking()) free.push_back(static_cast<int>(i) + 1);
  }
  return free.empty() ? 0 : free[random.Bits() % free.size()];
}

// The slot that the token has on most of the nodes that denied. 0 if it has none.
[[nodiscard]] inline int OwnSlot(const Round& round) {
  std::array<int, kMostSlots + 1> nodes{};
  std::size_t most = 0;
  for (const Vote& vote : round.votes()) {
    if (vote.outcome != Outcome::kHeld) continue;
    const auto own = static_cast<std::size_t>(round.reply(vote.node)->own_slot);
    if (own != 0 && ++nodes.at(own) > nodes.at(most)) most = own;
  }
  return static_cast<int>(most);
}

// Whether the token has slots on so many nodes that no quorum can grant it another one.
[[nodiscard]] inline bool HasSlot(const Round& round) {
  const auto nodes = std::ranges::count_if(round.votes(), [&round](const Vote& vote) {
    return vote.outcome == Outcome::kHeld && round.reply(vote.node)->own_slot != 0;
  });
  return static_cast<std::size_t>(nodes) >= round.set().blocking();
}

// How the key is in use, if it is in another way than wanted on so many nodes that no quorum can
// grant it.
[[nodiscard]] inline std::optional<std::string> OtherUse(const Round& round, const Key& wanted) {
  std::size_t others = 0;
  int limit = 0;
  for (const Vote& vote : round.votes()) {
    if (vote.outcome != Outcome::kHeld) continue;
    const int in_force = LimitIn(round.reply(vote.node)->holder.value());
    if (in_force == wanted.limit()) continue;
    limit = in_force;
    ++others;
  }
  if (others < round.set().blocking()) return std::nullopt;
  return limit == 0 ? "a lock" : "a semaphore of " + std::to_string(limit);
}

}  // namespace redlock
