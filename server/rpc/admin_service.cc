#include "server/rpc/admin_service.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "server/core/nodes/quorum.h"
#include "server/rpc/caller.h"
#include "server/rpc/lease_page.h"
#include "server/rpc/requests.h"
#include "server/rpc/simple_call.h"
#include "server/rpc/status.h"

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

// Asking for any key shows whether a node answers. This key is reserved, so no client can lock it.
const Key& Probe() {
  static const Key key("redlockd:probe");
  return key;
}

constexpr std::size_t kMostWhy = 200;

using ForceRelease = SimpleCall<v1::ForceReleaseRequest, v1::ForceReleaseResponse>;

// Answers the call and logs the outcome. `before`: what the nodes answered before the release;
// `failure`: why a release failed.
void AnswerForceReleased(const Key& key, const InspectResult& before, std::optional<Error> failure,
                         const std::string& audit, const NodeNames& names,
                         const ForceRelease::Answer& answer) {
  const bool found = !before.holders.empty();
  if (!found && before.undecided) {
    failure = Error{.reason = Reason::kQuorumUnavailable,
                    .message = "too few nodes answered to decide who holds the key"};
  }
  if (failure) {
    spdlog::warn("force release of \"{}\" failed: {}, {}", key.value(), failure->message, audit);
    answer(ToStatus(*failure, before.votes, names), {});
    return;
  }
  spdlog::warn("force release of \"{}\": {}, {}", key.value(),
               found ? "taken from its holder" : "no client held it", audit);
  v1::ForceReleaseResponse response;
  response.set_released(found);
  response.set_owner(before.owner.value());
  Fill(*response.mutable_votes(), before.votes, names);
  answer(grpc::Status::OK, response);
}

}  // namespace

AdminService::AdminService(const config::Config& config, runtime::ShardPool& shards,
                           const access::Access& access)
    : names_(NamesOf(config)), shards_(shards), access_(access) {}

grpc::Status AdminService::Admit(const grpc::ServerContextBase& context) const {
  const auto caller = Caller::Of(access_, context);
  if (!caller) return ToStatus(Refusal::kUnauthenticated);
  if (!caller->May(access::Action::kAdmin, {})) return ToStatus(Refusal::kPermissionDenied);
  return grpc::Status::OK;
}

// The caller of an admitted call, for the log: its identity, or else its address.
std::string AdminService::NameOf(const grpc::ServerContextBase& context) const {
  const auto caller = Caller::Of(access_, context);
  return caller && !caller->identity().empty() ? caller->identity() : context.peer();
}

void AdminService::AddTo(Routes& routes) {
  AddListNodes(routes);
  AddGetNodeSet(routes);
  AddListLeases(routes);
  AddForceRelease(routes);
  AddSetLogLevel(routes);
}

void AdminService::AddListNodes(Routes& routes) {
  using ListNodes = SimpleCall<v1::ListNodesRequest, v1::ListNodesResponse>;
  routes["/redlock.v1.AdminService/ListNodes"] = ListNodes::Route(
      [this](const auto& context) { return Admit(context); },
      [this](const auto& /*context*/, const v1::ListNodesRequest& /*request*/,
             ListNodes::Answer answer) {
        shards_.For(Probe()).Do([this, answer = std::move(answer)](Shard& shard) {
          shard.Inspect(Probe(), [this, answer, &shard](const InspectResult& result) {
            answer(grpc::Status::OK, Nodes(shard, result));
          });
        });
      });
}

void AdminService::AddGetNodeSet(Routes& routes) {
  using GetNodeSet = SimpleCall<v1::GetNodeSetRequest, v1::GetNodeSetResponse>;
  routes["/redlock.v1.AdminService/GetNodeSet"] = GetNodeSet::Route(
      [this](const auto& context) { return Admit(context); },
      [this](const auto& /*context*/, const v1::GetNodeSetRequest& /*request*/,
             GetNodeSet::Answer answer) {
        shards_.For(Probe()).Do([this, answer = std::move(answer)](Shard& shard) {
          shard.Inspect(Probe(), [this, answer, &shard](const InspectResult& result) {
            v1::GetNodeSetResponse response;
            *response.mutable_node_set() = SetOf(shard, result);
            answer(grpc::Status::OK, response);
          });
        });
      });
}

void AdminService::AddListLeases(Routes& routes) {
  using ListLeases = SimpleCall<v1::ListLeasesRequest, v1::ListLeasesResponse>;
  routes["/redlock.v1.AdminService/ListLeases"] = ListLeases::Route(
      [this](const auto& context) { return Admit(context); },
      [this](const auto& /*context*/, const v1::ListLeasesRequest& request,
             const ListLeases::Answer& answer) {
        if (request.page_size() < 0 || request.page_size() > LeasePage::kMost) {
          answer(ToStatus(Violations{{"page_size", "must be from 0 to 1000"}}), {});
          return;
        }
        LeasePage::Gather(shards_, request, answer);
      });
}

void AdminService::AddForceRelease(Routes& routes) {
  routes["/redlock.v1.AdminService/ForceRelease"] = ForceRelease::Route(
      [this](const auto& context) { return Admit(context); },
      [this](const auto& context, const v1::ForceReleaseRequest& request,
             const ForceRelease::Answer& answer) {
        Violations faults;
        v1::InspectRequest of_key;
        of_key.set_key(request.key());
        auto checked = Check(of_key, {});
        if (auto* found = std::get_if<Violations>(&checked)) faults = std::move(*found);
        if (request.why().empty() || request.why().size() > kMostWhy) {
          faults.push_back({"why", "must be set, and at most 200 bytes"});
        }
        if (!faults.empty()) {
          answer(ToStatus(faults), {});
          return;
        }
        const Key key(request.key());
        const std::string audit = "by " + NameOf(context) + "; why: " + request.why();
        shards_.For(key).Do([this, key, audit, answer](Shard& shard) {
          shard.ForceRelease(key, [this, key, audit, answer](const InspectResult& before,
                                                             std::optional<Error> failure) {
            AnswerForceReleased(key, before, std::move(failure), audit, names_, answer);
          });
        });
      });
}

void AdminService::AddSetLogLevel(Routes& routes) {
  using SetLogLevel = SimpleCall<v1::SetLogLevelRequest, v1::SetLogLevelResponse>;
  routes["/redlock.v1.AdminService/SetLogLevel"] = SetLogLevel::Route(
      [this](const auto& context) { return Admit(context); },
      [this](const auto& context, const v1::SetLogLevelRequest& request,
             const SetLogLevel::Answer& answer) {
        const auto level = spdlog::level::from_str(request.level());
        if (level == spdlog::level::off && request.level() != "off") {
          answer(
              ToStatus(Violations{{"level", "must be trace, debug, info, warning, error or off"}}),
              {});
          return;
        }
        const auto previous = spdlog::level::to_string_view(spdlog::get_level());
        v1::SetLogLevelResponse response;
        response.set_previous(std::string(previous.data(), previous.size()));
        spdlog::set_level(level);
        spdlog::log(std::max(level, spdlog::level::info), "log level {} by {}", request.level(),
                    NameOf(context));
        answer(grpc::Status::OK, response);
      });
}

v1::ListNodesResponse AdminService::Nodes(const Shard& shard, const InspectResult& result) const {
  v1::ListNodesResponse response;
  for (const std::string& name : names_) response.add_nodes()->set_name(name);
  for (const Vote& vote : result.votes) {
    v1::Node& node = *response.mutable_nodes(static_cast<int>(vote.node));
    node.set_state(StateOf(vote.outcome));
    node.set_message(vote.message);
    if (shard.guard() != nullptr) node.set_version(shard.guard()->Version(vote.node));
    Fill(*node.mutable_latency(), vote.latency);
    if (vote.outcome != Outcome::kQuarantined || shard.guard() == nullptr) continue;
    Fill(*node.mutable_quarantine_left(), shard.guard()->QuarantineLeft(vote.node));
  }
  std::size_t quorum = QuorumOf(names_.size());
  if (const Membership* const membership = shard.membership()) {
    quorum = membership->set()->quorum();
    for (NodeIndex node = 0; node < names_.size(); ++node) {
      const auto refusal = membership->Refusal(node);
      v1::Node& shown = *response.mutable_nodes(static_cast<int>(node));
      if (!membership->known() && !membership->IsConnected(node)) {
        shown.set_state(v1::NODE_STATE_DOWN);
        shown.set_message("not connected");
        continue;
      }
      if (!refusal || refusal->outcome != Outcome::kOtherSet) continue;
      shown.set_state(v1::NODE_STATE_NOT_MEMBER);
      shown.set_message(refusal->why);
    }
  }
  response.set_quorum(static_cast<std::int32_t>(quorum));
  return response;
}

v1::NodeSet AdminService::SetOf(const Shard& shard, const InspectResult& result) const {
  v1::NodeSet shown;
  const Membership* const membership = shard.membership();
  if (membership == nullptr) return shown;
  const v1::ListNodesResponse nodes = Nodes(shard, result);
  shown.set_trouble(membership->Trouble());
  for (NodeIndex node = 0; node < names_.size(); ++node) {
    if (membership->Refusal(node)) *shown.add_others() = nodes.nodes(static_cast<int>(node));
  }
  if (!membership->known()) return shown;
  const SetRecord& record = membership->set()->record();
  shown.set_set_id(record.set_id);
  shown.set_epoch(record.epoch);
  shown.set_quorum(nodes.quorum());
  Fill(*shown.mutable_max_ttl(), record.max_ttl);
  Fill(*shown.mutable_fence_retention(), record.fence_retention);
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
