// Counting votes. Pure.
#pragma once

#include <cstddef>

#include "server/core/types.h"

namespace redlock {

[[nodiscard]] constexpr std::size_t QuorumOf(std::size_t nodes) { return nodes / 2 + 1; }

enum class Verdict {
  kPending,      // the votes still out can decide either way
  kReached,      // a quorum granted
  kDenied,       // so many nodes said no that the others cannot make a quorum
  kUnreachable,  // all that can be known is known, and it is neither of the two above
};

// The votes of one round over `nodes` nodes. What counts as a denial differs: a held key denies an
// acquisition, an absent one denies an extension; the caller says so with each vote.
class Tally {
 public:
  explicit Tally(std::size_t nodes) : nodes_(nodes) {}

  void Grant() { ++granted_; }
  void Deny() { ++denied_; }
  void Fail() { ++failed_; }  // unknown, or barred from voting

  [[nodiscard]] std::size_t granted() const { return granted_; }
  [[nodiscard]] std::size_t denied() const { return denied_; }
  [[nodiscard]] std::size_t pending() const { return nodes_ - granted_ - denied_ - failed_; }

  // Decided at the majority: votes that cannot change the verdict are not waited for.
  [[nodiscard]] Verdict verdict() const {
    const std::size_t quorum = QuorumOf(nodes_);
    if (granted_ >= quorum) return Verdict::kReached;
    if (denied_ > nodes_ - quorum) return Verdict::kDenied;
    const bool can_reach = granted_ + pending() >= quorum;
    const bool can_deny = denied_ + pending() > nodes_ - quorum;
    return can_reach || can_deny ? Verdict::kPending : Verdict::kUnreachable;
  }

 private:
  std::size_t nodes_;
  std::size_t granted_ = 0;
  std::size_t denied_ = 0;
  std::size_t failed_ = 0;
};

}  // namespace redlock
