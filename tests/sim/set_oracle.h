// Watches how the nodes decide records of the node set, and reports violations: two records decided
// for one epoch, or a node that was told of a record that is not decided.
//
// A record is decided once a quorum of the members of the epoch before have accepted it under one
// ballot, whatever happens to them later.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/core/nodes/quorum.h"
#include "server/core/nodes/set_record.h"

namespace redlock::sim {

class SetOracle {
 public:
  // The node `member`, whose record is `base`, has accepted the proposal.
  void Accepted(const SetRecord& base, const std::string& member, const Proposal& proposal) {
    if (base.Find(member) == nullptr) return;  // it is being added and has no vote
    auto& votes = votes_[{base.epoch, proposal.ballot}];
    votes.insert(member);
    if (votes.size() >= QuorumOf(base.members.size())) Decide(proposal.record);
  }
  // A node was told that the record is decided.
  void Learned(const SetRecord& record) {
    if (record.epoch == 1) {
      Decide(record);
    } else if (!decided_.contains(record.epoch)) {
      violations_.push_back("epoch " + std::to_string(record.epoch) +
                            " was taken for decided too early");
    } else {
      Decide(record);
    }
  }
  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }
  // The record of the highest epoch; at least one is decided.
  [[nodiscard]] const SetRecord& latest() const { return decided_.rbegin()->second; }
  [[nodiscard]] std::size_t decided() const { return decided_.size(); }

 private:
  void Decide(const SetRecord& record) {
    const auto [first, is_new] = decided_.emplace(record.epoch, record);
    if (!is_new && first->second != record) {
      violations_.push_back("two records are decided for epoch " + std::to_string(record.epoch));
    }
  }

  std::map<std::pair<std::uint64_t, Ballot>, std::set<std::string>> votes_;
  std::map<std::uint64_t, SetRecord> decided_;
  std::vector<std::string> violations_;
};

}  // namespace redlock::sim
