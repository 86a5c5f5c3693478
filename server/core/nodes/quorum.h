// Counts votes and decides a round. Pure.
#pragma once

#include <cstddef>

#include "server/core/check.h"
#include "server/core/types.h"

namespace redlock {

[[nodiscard]] constexpr std::size_t QuorumOf(std::size_t nodes) { return nodes / 2 + 1; }

enum class Verdict {
  kPending,      // the pending votes can still decide the round
  kReached,      // a quorum granted
  kDenied,       // so many nodes denied that the others cannot make a quorum
  kUnreachable,  // undecided: too many votes are unknown
};

// The votes of one round over `nodes` nodes. Each kind of round has its own denials, so the caller
// classifies each vote: a held key denies an acquisition, an absent key denies an extension.
class Tally {
 public:
  explicit Tally(std::size_t nodes) : nodes_(nodes) {}

  void Grant() { Count(granted_); }
  void Deny() { Count(denied_); }
  void Fail() { Count(failed_); }  // unknown, or quarantined

  [[nodiscard]] std::size_t granted() const { return granted_; }
  [[nodiscard]] std::size_t denied() const { return denied_; }
  [[nodiscard]] std::size_t pending() const { return nodes_ - granted_ - denied_ - failed_; }

  // Decides at the majority, without waiting for votes that cannot change the verdict.
  [[nodiscard]] Verdict verdict() const {
    const std::size_t quorum = QuorumOf(nodes_);
    if (granted_ >= quorum) return Verdict::kReached;
    if (denied_ > nodes_ - quorum) return Verdict::kDenied;
    const bool can_reach = granted_ + pending() >= quorum;
    const bool can_deny = denied_ + pending() > nodes_ - quorum;
    return can_reach || can_deny ? Verdict::kPending : Verdict::kUnreachable;
  }

 private:
  void Count(std::size_t& votes) {
    REDLOCK_CHECK(pending() > 0);  // a node has one vote
    ++votes;
  }

  std::size_t nodes_;
  std::size_t granted_ = 0;
  std::size_t denied_ = 0;
  std::size_t failed_ = 0;
};

}  // namespace redlock
