#include "server/rpc/node_set_view.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/core/nodes/quorum.h"

namespace redlock::rpc {
namespace {

v1::NodeState StateOf(Outcome outcome) {
  switch (outcome) {
    case Outcome::kQuarantined:
      return v1::NODE_STATE_QUARANTINED;
    case Outcome::kOtherSet:
      return v1::NODE_STATE_NOT_MEMBER;
    case Outcome::kError:
    case Outcome::kTimeout:
      return v1::NODE_STATE_DOWN;
    case Outcome::kGranted:
    case Outcome::kHeld:
    case Outcome::kNotHeld:
    case Outcome::kStaleFence:
      return v1::NODE_STATE_UP;
  }
  return v1::NODE_STATE_UNSPECIFIED;
}

// `views`: by shard. The first one is that of the coordinator.
v1::ListNodesResponse WorstOf(const std::vector<v1::ListNodesResponse>& views) {
  v1::ListNodesResponse worst = views.front();
  for (std::size_t shard = 1; shard < views.size(); ++shard) {
    for (int i = 0; i < worst.nodes_size(); ++i) {
      const v1::Node& seen = views[shard].nodes(i);
      v1::Node& node = *worst.mutable_nodes(i);
      if (seen.state() <= node.state()) continue;  // the states are numbered from best to worst
      node = seen;
      node.set_message(seen.message() + " (shard " + std::to_string(shard) + ")");
    }
  }
  return worst;
}

}  // namespace

const Key& ProbeKey() {
  static const Key key("redlockd:probe");
  return key;
}

v1::ListNodesResponse NodesOf(const Shard& shard, const InspectResult& result,
                              const NodeNames& names) {
  v1::ListNodesResponse response;
  for (const std::string& name : names) response.add_nodes()->set_name(name);
  for (const Vote& vote : result.votes) {
    v1::Node& node = *response.mutable_nodes(static_cast<int>(vote.node));
    node.set_state(StateOf(vote.outcome));
    node.set_message(Excerpt(vote.message));
    if (shard.guard() != nullptr) node.set_version(shard.guard()->Version(vote.node));
    Fill(*node.mutable_latency(), vote.latency);
    if (vote.outcome != Outcome::kQuarantined || shard.guard() == nullptr) continue;
    Fill(*node.mutable_quarantine_left(), shard.guard()->QuarantineLeft(vote.node));
  }
  std::size_t quorum = QuorumOf(names.size());
  if (const Membership* const membership = shard.membership()) {
    quorum = membership->set()->quorum();
    for (NodeIndex node = 0; node < names.size(); ++node) {
      const auto refusal = membership->Refusal(node);
      v1::Node& shown = *response.mutable_nodes(static_cast<int>(node));
      if (!membership->IsConnected(node)) {
        shown.set_state(v1::NODE_STATE_DOWN);
        shown.set_message("not connected: " + membership->DownBecause(node));
        continue;
      }
      if (!refusal || refusal->outcome != Outcome::kOtherSet) continue;
      shown.set_state(v1::NODE_STATE_NOT_MEMBER);
      shown.set_message(refusal->why);
    }
  }
  for (NodeIndex node = 0; shard.grants() != nullptr && node < names.size(); ++node) {
    v1::Node& shown = *response.mutable_nodes(static_cast<int>(node));
    const bool up = shown.state() == v1::NODE_STATE_UP;
    if (!up && shown.state() != v1::NODE_STATE_DOWN) continue;
    if (const auto fault = shard.grants()->Fault(node)) {
      shown.set_state(v1::NODE_STATE_DOWN);
      // Also of a node whose vote is an error: the trial knows the cause better.
      shown.set_message("it cannot grant locks: " + *fault);
    } else if (up) {
      shown.set_message(shard.grants()->Flaw(node));
    }
  }
  response.set_quorum(static_cast<std::int32_t>(quorum));
  return response;
}

void AskNodes(runtime::ShardPool& shards, const NodeNames& names, const NodesSeen& done) {
  struct Views {  // on the coordinator's strand only
    std::vector<v1::ListNodesResponse> of_shards;
    std::size_t left;
  };
  const std::size_t count = shards.shards().size();
  const auto views = std::make_shared<Views>(
      Views{.of_shards = std::vector<v1::ListNodesResponse>(count), .left = count});
  for (std::size_t i = 0; i < count; ++i) {
    shards.shards()[i]->Do([&shards, &names, views, done, i](Shard& shard) {
      shard.Inspect(
          ProbeKey(), [&shards, &names, &shard, views, done, i](const InspectResult& result) {
            shards.coordinator().Do(
                [views, done, i, seen = NodesOf(shard, result, names)](Shard& coordinator) mutable {
                  views->of_shards[i] = std::move(seen);
                  if (--views->left == 0) done(coordinator, WorstOf(views->of_shards));
                });
          });
    });
  }
}

v1::NodeSet NodeSetOf(const Shard& coordinator, const v1::ListNodesResponse& nodes) {
  v1::NodeSet shown;
  const Membership* const membership = coordinator.membership();
  if (membership == nullptr) return shown;
  shown.set_trouble(membership->Trouble());
  for (int node = 0; node < nodes.nodes_size(); ++node) {
    if (membership->Refusal(static_cast<NodeIndex>(node))) *shown.add_others() = nodes.nodes(node);
  }
  if (!membership->known()) return shown;
  const SetRecord& record = membership->set()->record();
  shown.set_set_id(record.set_id);
  shown.set_epoch(record.epoch);
  shown.set_quorum(nodes.quorum());
  Fill(*shown.mutable_max_ttl(), record.max_ttl);
  Fill(*shown.mutable_fence_retention(), record.fence_retention);
  for (const std::string& name : record.wanted_add) shown.add_wanted_add(name);
  for (const std::string& id : record.wanted_remove) shown.add_wanted_remove(id);
  Fill(*shown.mutable_wait(), membership->WaitLeft().value_or(Duration{}));
  for (std::size_t i = 0; i < record.members.size(); ++i) {
    v1::NodeSetMember& member = *shown.add_members();
    member.set_id(record.members[i].id);
    member.set_name(record.members[i].name);
    const auto node = membership->NodeOf(i);
    member.set_configured(node.has_value());
    if (node) {
      const v1::Node& seen = nodes.nodes(static_cast<int>(*node));
      member.set_state(seen.state());
      member.set_message(seen.message());
    } else {
      member.set_state(v1::NODE_STATE_DOWN);
      member.set_message("not configured at this daemon");
    }
  }
  return shown;
}

}  // namespace redlock::rpc
