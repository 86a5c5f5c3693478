#include "server/core/nodes/set_creation.h"

#include <algorithm>
#include <map>
#include <utility>

#include "server/core/nodes/mark.h"
#include "server/core/safeguard.h"

namespace redlock {

std::optional<SetRecord> SetCreation::Advance() {
  obstacle_.reset();
  for (const SetNodes::Seat& seat : nodes_) {
    if (seat.connected || !Has(Safeguard::kNewSetNeedsAllNodes)) continue;
    obstacle_ = {.what = "node " + seat.name + " is not connected (" + seat.down_because +
                         "): a new node set is created once all configured nodes are connected",
                 .mismatch = false};
    return std::nullopt;
  }
  if (!EnrollAll()) return std::nullopt;
  std::map<std::string, NodeIndex> by_id;
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    if (!nodes_[node].connected) continue;
    const auto [other, is_new] = by_id.emplace(nodes_[node].state.member, node);
    if (is_new) continue;
    obstacle_ = {.what = "nodes " + nodes_[other->second].name + " and " + nodes_[node].name +
                         " are the same server: configure each node once"};
    return std::nullopt;
  }
  if (by_id.empty()) return std::nullopt;
  // All daemons offer their record to this node first, and then go on with what it has accepted.
  const NodeIndex arbiter = by_id.begin()->second;
  SetRecord record;
  if (const auto& accepted = nodes_[arbiter].state.accepted) {
    record = accepted->record;
  } else {
    if (!nodes_[arbiter].IsFree()) return std::nullopt;
    std::vector<NodeIndex> nodes;
    for (const auto& [id, node] : by_id) nodes.push_back(node);
    nodes_.Ask(arbiter, {.kind = SetStep::Kind::kFound,
                         .member = nodes_[arbiter].state.member,
                         .record = FirstRecord(nodes)});
    return std::nullopt;
  }
  bool all_hold = true;
  for (const Member& member : record.members) {
    const auto found = by_id.find(member.id);
    if (found == by_id.end()) {
      if (StartAgain()) return std::nullopt;
      obstacle_ = {.what = "another daemon is creating a node set with node " + member.name +
                           ", which is not configured here: give all daemons the same nodes"};
      return std::nullopt;
    }
    const SetNodes::Seat& seat = nodes_[found->second];
    if (!seat.state.accepted) {
      all_hold = false;
      if (!seat.IsFree()) continue;
      nodes_.Ask(found->second,
                 {.kind = SetStep::Kind::kFound, .member = member.id, .record = record});
    } else if (seat.state.accepted->record != record) {
      if (StartAgain()) return std::nullopt;
      obstacle_ = {.what = "nodes " + nodes_[arbiter].name + " and " + seat.name +
                           " were offered different node sets by daemons with different nodes or "
                           "settings: configure all daemons alike, run FLUSHALL on these new "
                           "nodes, and start again"};
      return std::nullopt;
    }
  }
  return all_hold ? std::optional(record) : std::nullopt;
}

// A node that was offered a record lost its data before the record was in force, so that it never
// will be. If all records that were offered are for the same servers as configured here, a new one
// can be: two quorums of the same servers meet, and a server votes by one record only.
bool SetCreation::StartAgain() {
  for (const SetNodes::Seat& seat : nodes_) {
    if (!seat.state.accepted) continue;
    const std::vector<Member>& members = seat.state.accepted->record.members;
    const bool same = members.size() == nodes_.size() &&
                      std::ranges::all_of(members, [this](const Member& member) {
                        return std::ranges::any_of(nodes_, [&member](const SetNodes::Seat& other) {
                          return other.state.member == member.id || other.name == member.name;
                        });
                      });
    if (!same) return false;
  }
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    if (nodes_[node].state.accepted) Enroll(node);
  }
  return true;
}

bool SetCreation::EnrollAll() {
  bool all = true;
  for (NodeIndex node = 0; node < nodes_.size(); ++node) {
    const SetNodes::Seat& seat = nodes_[node];
    if (!seat.connected || !seat.state.member.empty()) continue;
    all = false;
    Enroll(node);
  }
  return all;
}

void SetCreation::Enroll(NodeIndex node) {
  const SetNodes::Seat& seat = nodes_[node];
  if (!seat.IsFree()) return;
  nodes_.Ask(node, {.kind = SetStep::Kind::kEnroll,
                    .member = nodes_.NewId(),
                    .replaces = seat.state.member,
                    .mark = MakeMark(kFreshMark, seat.run, random_.Bits())});
}

SetRecord SetCreation::FirstRecord(const std::vector<NodeIndex>& nodes) {
  SetRecord record;
  record.epoch = 1;
  record.max_ttl = options_.max_ttl;
  record.fence_retention = options_.fence_retention;
  for (const NodeIndex node : nodes) {
    record.members.push_back({nodes_[node].state.member, nodes_[node].name});
  }
  // The same record again, unless a node was enrolled anew meanwhile.
  if (!first_ || first_->members != record.members) {
    record.set_id = nodes_.NewId();
    first_ = std::move(record);
  }
  return *first_;
}

}  // namespace redlock
