#include "server/rpc/admin_service.h"

#include <utility>

#include "server/core/quorum.h"
#include "server/rpc/caller.h"
#include "server/rpc/simple_call.h"
#include "server/rpc/status.h"

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

AdminService::AdminService(const config::Config& config, runtime::ShardPool& shards,
                           const access::Access& access)
    : names_(NamesOf(config)), shards_(shards), access_(access) {}

grpc::Status AdminService::Admit(const grpc::ServerContextBase& context) const {
  const auto caller = Caller::Of(access_, context);
  if (!caller) return ToStatus(Refusal::kUnauthenticated);
  if (!caller->May(access::Verb::kAdmin, {})) return ToStatus(Refusal::kPermissionDenied);
  return grpc::Status::OK;
}

void AdminService::AddTo(Routes& routes) {
  using ListNodes = SimpleCall<v1::ListNodesRequest, v1::ListNodesResponse>;
  routes["/redlock.v1.AdminService/ListNodes"] = ListNodes::Route(
      [this](const auto& context) { return Admit(context); },
      [this](const v1::ListNodesRequest& /*request*/, ListNodes::Answer answer) {
        shards_.For(Probe()).Do([this, answer = std::move(answer)](Shard& shard) {
          shard.Inspect(Probe(), [this, answer, &shard](const InspectResult& result) {
            answer(grpc::Status::OK, Nodes(shard, result));
          });
        });
      });
}

v1::ListNodesResponse AdminService::Nodes(const Shard& shard, const InspectResult& result) const {
  v1::ListNodesResponse response;
  for (const std::string& name : names_) response.add_nodes()->set_name(name);
  for (const Vote& vote : result.votes) {
    v1::Node& node = *response.mutable_nodes(static_cast<int>(vote.node));
    node.set_state(StateOf(vote.outcome));
    node.set_message(vote.message);
    Fill(*node.mutable_latency(), vote.latency);
    if (vote.outcome != Outcome::kQuarantined) continue;
    Fill(*node.mutable_quarantine_left(), shard.guard()->QuarantineLeft(vote.node));
  }
  response.set_quorum(static_cast<std::int32_t>(QuorumOf(names_.size())));
  return response;
}

}  // namespace redlock::rpc
