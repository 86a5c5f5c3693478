#include "server/rpc/admin_service.h"

#include "server/core/quorum.h"

namespace redlock::rpc {
namespace {

v1::NodeState StateOf(Outcome outcome) {
  switch (outcome) {
    case Outcome::kQuarantined:
      return v1::NODE_STATE_QUARANTINED;
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

// Any key will do to see whether a node answers; this one nobody can lock.
const Key& Probe() {
  static const Key key("redlockd:probe");
  return key;
}

}  // namespace

AdminService::AdminService(const config::Config& config, runtime::ShardPool& shards)
    : names_(NamesOf(config)), shards_(shards) {}

grpc::ServerUnaryReactor* AdminService::ListNodes(grpc::CallbackServerContext* context,
                                                  const v1::ListNodesRequest* /*request*/,
                                                  v1::ListNodesResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  shards_.For(Probe()).Post([this, reactor, response](Shard& shard) {
    shard.Inspect(Probe(), [this, reactor, response, &shard](const InspectResult& result) {
      for (const std::string& name : names_) response->add_nodes()->set_name(name);
      for (const Vote& vote : result.votes) {
        v1::Node& node = *response->mutable_nodes(static_cast<int>(vote.node));
        node.set_state(StateOf(vote.outcome));
        node.set_message(vote.message);
        Fill(*node.mutable_latency(), vote.latency);
        if (vote.outcome != Outcome::kQuarantined) continue;
        Fill(*node.mutable_quarantine_left(), shard.guard()->QuarantineLeft(vote.node));
      }
      response->set_quorum(static_cast<std::int32_t>(QuorumOf(names_.size())));
      reactor->Finish(grpc::Status::OK);
    });
  });
  return reactor;
}

}  // namespace redlock::rpc
