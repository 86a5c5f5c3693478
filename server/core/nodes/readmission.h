// Gives back to a node that has lost its data, or has old data, what it must remember: the record,
// a promise, and the proposal that may have been decided.
//
// A quorum of the other members first promise a fresh ballot. So no older proposal, which the node
// may have accepted and forgotten, can be decided without them, and the highest proposal that they
// have accepted is the only one that may have been decided already. Strand-confined.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/core/nodes/set_nodes.h"

namespace redlock {

class Readmission {
 public:
  enum class Progress {
    kPending,
    kFailed,   // the next attempt has a higher ballot
    kWritten,  // the node has everything
  };
  struct Target {
    NodeIndex node;
    std::string member;    // the id that the node gets
    std::string mark;      // the node's: a later loss changes it, and the write has no effect then
    std::string new_mark;  // the mark that the node gets
  };

  // The nodes must outlive this.
  Readmission(SetNodes& nodes, SetRecord record, Target target)
      : nodes_(nodes),
        record_(std::move(record)),
        target_(std::move(target)),
        ballot_(nodes.NextBallot()) {}

  [[nodiscard]] NodeIndex node() const { return target_.node; }
  // Takes over what `others`, which are free, have accepted, once `quorum` of them have promised.
  void Prepare(const std::vector<NodeIndex>& others, std::size_t quorum);
  // Takes over what `others` have accepted without a promise.
  [[nodiscard]] Progress WriteWithoutPromise(const std::vector<NodeIndex>& others);
  [[nodiscard]] Progress OnReply(NodeIndex node, const SetReply& reply);

 private:
  void TakeOver(const std::optional<Proposal>& other);
  [[nodiscard]] Progress Write();

  SetNodes& nodes_;
  const SetRecord record_;
  const Target target_;
  const Ballot ballot_;
  std::size_t quorum_ = 0;
  std::set<NodeIndex> asked_;
  std::size_t refused_ = 0;
  std::set<NodeIndex> promised_;
  std::optional<Proposal> accepted_;  // with the highest ballot
  bool writing_ = false;
};

}  // namespace redlock
