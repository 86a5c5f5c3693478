// The node set that a round asks and counts: an immutable value. A round holds the one with which
// it began, so that all its votes are counted by one rule.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/core/nodes/quorum.h"
#include "server/core/nodes/set_record.h"

namespace redlock {

class NodeSet {
 public:
  // All of `nodes` configured nodes, without a record: for a daemon that does not compare records,
  // or that has not found one yet.
  explicit NodeSet(std::size_t nodes) : size_(nodes), nodes_(nodes) {
    std::iota(nodes_.begin(), nodes_.end(), NodeIndex{});
  }
  // `nodes`: the configured nodes that are members, in the order of the members. `adopted`: when
  // this daemon began to use the record.
  NodeSet(SetRecord record, std::vector<NodeIndex> nodes, MonotonicTime adopted)
      : size_(record.members.size()),
        nodes_(std::move(nodes)),
        stamp_(StampOf(record)),
        record_(std::move(record)),
        adopted_(adopted) {}

  // The number of members. Members that are not configured count as nodes that cannot be reached.
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t quorum() const { return QuorumOf(size_); }
  // Counts the votes of one round. Members that are not configured have failed already.
  [[nodiscard]] Tally NewTally() const {
    Tally tally(size_);
    for (std::size_t i = nodes_.size(); i < size_; ++i) tally.Fail();
    return tally;
  }
  // The members that can be asked.
  [[nodiscard]] const std::vector<NodeIndex>& nodes() const { return nodes_; }
  [[nodiscard]] bool Contains(NodeIndex node) const {
    return std::ranges::find(nodes_, node) != nodes_.end();
  }
  // No lease is longer than the set's max_ttl, whatever a daemon is configured with.
  [[nodiscard]] Duration Bounded(Duration ttl) const {
    return stamp_.empty() ? ttl : std::min(ttl, record_.max_ttl);
  }
  [[nodiscard]] MonotonicTime adopted() const { return adopted_; }
  // Whether leases that were granted under the previous record, by fewer of the present members
  // than a quorum, may still be valid.
  [[nodiscard]] bool IsInTransition(MonotonicTime now) const {
    return record_.epoch > 1 && now < adopted_ + record_.wait;
  }
  // Why no round can be decided at this daemon: too few members are configured.
  [[nodiscard]] std::optional<Error> Mismatch() const {
    if (nodes_.size() >= quorum()) return std::nullopt;
    return Error{
        .reason = Reason::kNodeSetMismatch,
        .message = std::to_string(size_ - nodes_.size()) + " of " + std::to_string(size_) +
                   " members of the node set are not configured at this daemon; list them with: "
                   "redlockctl nodes list"};
  }
  // So many members that no quorum can be found without one of them.
  [[nodiscard]] std::size_t blocking() const { return size_ - quorum() + 1; }
  // Empty if there is no record.
  [[nodiscard]] const std::string& stamp() const { return stamp_; }
  [[nodiscard]] const SetRecord& record() const { return record_; }

 private:
  std::size_t size_;
  std::vector<NodeIndex> nodes_;
  std::string stamp_;
  SetRecord record_;
  MonotonicTime adopted_;
};

using NodeSetPtr = std::shared_ptr<const NodeSet>;

}  // namespace redlock
