#include "server/rpc/admin_service.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "server/rpc/caller.h"
#include "server/rpc/lease_audit.h"
#include "server/rpc/lease_page.h"
#include "server/rpc/node_set_stream.h"
#include "server/rpc/node_set_view.h"
#include "server/rpc/requests.h"
#include "server/rpc/status.h"

namespace redlock::rpc {
namespace {

constexpr std::size_t kMostWhy = 200;

using ForceRelease = SimpleCall<v1::ForceReleaseRequest, v1::ForceReleaseResponse>;

// The caller of an admitted call, for the log.
std::string NameOf(const std::optional<Caller>& caller, const grpc::ServerContextBase& context) {
  return NameOfCaller(caller ? caller->identity() : "", context.peer());
}

// Writes one line for each holder: several may share the key or have a slot of it.
void RecordForceReleased(LeaseAudit& recorder, const Key& key, const InspectResult& before,
                         const std::string& why) {
  for (const InspectResult::Holder& holder : before.held_by) {
    const Key taken = !before.shared     ? key
                      : before.limit > 0 ? key.Slot(before.limit, holder.slot)
                                         : key.Shared();
    recorder.OnForceReleased(taken, holder.owner.label, holder.fence, why);
  }
  // Only a minority of the nodes stored a holder.
  if (before.held_by.empty()) recorder.OnForceReleased(key, {}, before.fence, why);
}

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
  if (!before.shared && before.held) {
    response.set_owner(before.held_by.front().owner.label.str());
  }
  Fill(*response.mutable_votes(), before.votes, names);
  answer(grpc::Status::OK, response);
}

}  // namespace

AdminService::AdminService(const ServiceContext& context,
                           v1::GetConfigurationResponse configuration)
    : context_(context),
      shards_(context.shards),
      access_(context.access),
      configuration_(std::move(configuration)) {}

Admission AdminService::Admit(const grpc::ServerContextBase& context, Needs keys) const {
  if (HasTooMuchMetadata(context)) return {ToStatus(Refusal::kTooMuchMetadata), {}};
  const auto caller = Caller::Of(access_, context);
  if (!caller) return {ToStatus(Refusal::kUnauthenticated), {}};
  const bool permitted = keys == Needs::kAllKeys ? caller->MayWithAllKeys(access::Action::kAdmin)
                                                 : caller->MayWithSomeKeys(access::Action::kAdmin);
  return {permitted ? grpc::Status::OK : ToStatus(Refusal::kPermissionDenied), caller->identity()};
}

void AdminService::AddTo(Routes& routes) {
  AddListNodes(routes);
  AddGetNodeSet(routes);
  routes["/redlock.v1.AdminService/ChangeNodeSet"] =
      [this](std::unique_ptr<AcceptedCall> accepted) {
        return std::make_shared<NodeSetStream>(std::move(accepted), context_);
      };
  AddListLeases(routes);
  AddForceRelease(routes);
  AddSetLogLevel(routes);
  AddGetConfiguration(routes);
}

void AdminService::AddListNodes(Routes& routes) {
  using ListNodes = SimpleCall<v1::ListNodesRequest, v1::ListNodesResponse>;
  routes["/redlock.v1.AdminService/ListNodes"] =
      ListNodes::Route(Admitting(Needs::kAllKeys),
                       [this](const auto& /*context*/, const CallLog& /*log*/,
                              const v1::ListNodesRequest& /*request*/, ListNodes::Answer answer) {
                         AskNodes(shards_, context_.names,
                                  [answer = std::move(answer)](const Shard& /*coordinator*/,
                                                               const v1::ListNodesResponse& nodes) {
                                    answer(grpc::Status::OK, nodes);
                                  });
                       });
}

void AdminService::AddGetNodeSet(Routes& routes) {
  using GetNodeSet = SimpleCall<v1::GetNodeSetRequest, v1::GetNodeSetResponse>;
  routes["/redlock.v1.AdminService/GetNodeSet"] = GetNodeSet::Route(
      Admitting(Needs::kAllKeys),
      [this](const auto& /*context*/, const CallLog& /*log*/,
             const v1::GetNodeSetRequest& /*request*/, GetNodeSet::Answer answer) {
        AskNodes(shards_, context_.names,
                 [answer = std::move(answer)](const Shard& coordinator,
                                              const v1::ListNodesResponse& nodes) {
                   v1::GetNodeSetResponse response;
                   *response.mutable_node_set() = NodeSetOf(coordinator, nodes);
                   answer(grpc::Status::OK, response);
                 });
      });
}

void AdminService::AddListLeases(Routes& routes) {
  using ListLeases = SimpleCall<v1::ListLeasesRequest, v1::ListLeasesResponse>;
  routes["/redlock.v1.AdminService/ListLeases"] = ListLeases::Route(
      Admitting(Needs::kSomeKeys),
      [this](const auto& context, const CallLog& /*log*/, const v1::ListLeasesRequest& request,
             const ListLeases::Answer& answer) {
        if (request.page_size() < 0 || request.page_size() > LeasePage::kMost) {
          answer(ToStatus(Violations{{"page_size", "must be from 0 to 1000"}}), {});
          return;
        }
        const auto caller = Caller::Of(access_, context);
        LeasePage::Shows shows = [caller](const Key& key) {
          return caller && caller->May(access::Action::kAdmin, key);
        };
        if (caller && caller->MayWithAllKeys(access::Action::kAdmin)) shows = nullptr;
        LeasePage::Gather(
            shards_, request, std::move(shows),
            [this, answer](const grpc::Status& status, v1::ListLeasesResponse response) {
              response.set_daemon(context_.daemon);
              answer(status, response);
            });
      });
}

void AdminService::AddForceRelease(Routes& routes) {
  routes["/redlock.v1.AdminService/ForceRelease"] = ForceRelease::Route(
      Admitting(Needs::kSomeKeys),
      [this](const auto& context, const CallLog& log, const v1::ForceReleaseRequest& request,
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
        const auto caller = Caller::Of(access_, context);
        if (!caller || !caller->May(access::Action::kAdmin, key)) {
          answer(ToStatus(Refusal::kPermissionDenied), {});
          return;
        }
        const std::string audit = "by " + NameOf(caller, context) + "; why: " + request.why();
        const auto recorder = LeaseAudit::Of(context_.audit_log, context, log, caller->identity());
        shards_.For(key).Do([this, key, audit, recorder, why = request.why(),
                             answer](Shard& shard) {
          shard.ForceRelease(key, [this, key, audit, recorder, why, answer](
                                      const InspectResult& before, std::optional<Error> failure) {
            if (recorder && !failure && !before.holders.empty()) {
              RecordForceReleased(*recorder, key, before, why);
            }
            AnswerForceReleased(key, before, std::move(failure), audit, context_.names, answer);
          });
        });
      });
}

void AdminService::AddSetLogLevel(Routes& routes) {
  using SetLogLevel = SimpleCall<v1::SetLogLevelRequest, v1::SetLogLevelResponse>;
  routes["/redlock.v1.AdminService/SetLogLevel"] = SetLogLevel::Route(
      Admitting(Needs::kAllKeys),
      [this](const auto& context, const CallLog& /*log*/, const v1::SetLogLevelRequest& request,
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
                    NameOf(Caller::Of(access_, context), context));
        answer(grpc::Status::OK, response);
      });
}

void AdminService::AddGetConfiguration(Routes& routes) {
  using GetConfiguration = SimpleCall<v1::GetConfigurationRequest, v1::GetConfigurationResponse>;
  routes["/redlock.v1.AdminService/GetConfiguration"] = GetConfiguration::Route(
      Admitting(Needs::kAllKeys),
      [this](const auto& /*context*/, const CallLog& /*log*/,
             const v1::GetConfigurationRequest& /*request*/,
             const GetConfiguration::Answer& answer) { answer(grpc::Status::OK, configuration_); });
}

}  // namespace redlock::rpc
