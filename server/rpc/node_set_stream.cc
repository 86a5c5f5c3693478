#include "server/rpc/node_set_stream.h"

#include <spdlog/spdlog.h>

#include <variant>
#include <vector>

#include "server/core/format.h"
#include "server/rpc/node_set_view.h"
#include "server/rpc/requests.h"

namespace redlock::rpc {
namespace {

grpc::Status Refused(grpc::StatusCode code, const std::string& why) { return {code, why}; }

std::string DescribeChange(const ChangeRequest& change) {
  if (change.abort) return "abort";
  std::string words;
  const auto add = [&words](const std::string& more) {
    words += (words.empty() ? "" : ", ") + more;
  };
  for (const std::string& name : change.add) add("add " + name);
  for (const std::string& name : change.remove) add("remove " + name);
  if (change.max_ttl) add("max_ttl " + InWords(*change.max_ttl));
  return words;
}

}  // namespace

bool NodeSetStream::Permit() {
  const bool permitted = caller().MayWithAllKeys(access::Action::kAdmin);
  if (!permitted) Refuse(Refusal::kPermissionDenied);
  return permitted;
}

void NodeSetStream::OnReadsEnded() {
  if (!read_) Close(ToStatus({{"(message)", "is missing"}}));
}

void NodeSetStream::OnRead(const grpc::ByteBuffer& message) {
  read_ = true;
  v1::ChangeNodeSetRequest request;
  if (!Parse(message, request)) {
    Close(Refused(grpc::StatusCode::INVALID_ARGUMENT, "the request is not a valid message"));
    return;
  }
  auto checked = Check(request);
  if (const auto* faults = std::get_if<Violations>(&checked)) {
    Close(ToStatus(*faults));
    return;
  }
  if (!Register() || !Permit()) return;
  service_.shards.coordinator().Do([this, self = shared_from_this(), init = request.init(),
                                    change = std::get<ChangeRequest>(std::move(checked))](
                                       Shard& shard) { Start(shard, init, change); });
}

void NodeSetStream::Audit(const std::string& what) const {
  spdlog::warn("node set change by {}: {}", NameOfCaller(caller().identity(), context().peer()),
               what);
}

void NodeSetStream::Start(Shard& shard, bool init, const ChangeRequest& change) {
  const auto told = [this, weak = weak_from_this(), &shard](const ChangeProgress& progress) {
    if (const auto self = weak.lock()) OnProgress(shard, progress);
  };
  if (init) {
    Audit("init");
    follower_ = shard.CreateNodeSet(told);
    return;
  }
  Membership::Started started = shard.ChangeNodeSet(change, told);
  if (started.refusal) {
    Audit(DescribeChange(change) + ": refused: " + *started.refusal);
    Close(Refused(grpc::StatusCode::FAILED_PRECONDITION, *started.refusal));
    return;
  }
  Audit(DescribeChange(change));
  follower_ = std::move(started.handle);
}

void NodeSetStream::OnProgress(Shard& shard, const ChangeProgress& progress) {
  progress_ = progress;
  if (!asking_) Show(shard);
}

void NodeSetStream::Show(Shard& shard) {
  asking_ = true;
  shard.Inspect(ProbeKey(), [this, self = shared_from_this(), &shard](const InspectResult& result) {
    asking_ = false;
    v1::ChangeNodeSetResponse response;
    *response.mutable_node_set() = NodeSetOf(shard, NodesOf(shard, result, service_.names));
    response.set_steps_done(static_cast<std::int32_t>(progress_.steps_done));
    response.set_steps(static_cast<std::int32_t>(progress_.steps));
    response.set_message(progress_.message);
    if (progress_.failure) {
      Close(Refused(grpc::StatusCode::ABORTED,
                    "the change was not completed: " + *progress_.failure));
      return;
    }
    Send([&response](ProgressOutbox& outbox) {
      outbox.Put(std::move(response));
      return true;
    });
    if (progress_.complete) Close(grpc::Status::OK);
  });
}

void NodeSetStream::TellDraining() {
  Close(ToStatus({.reason = Reason::kDraining,
                  .message = "the daemon is shutting down: once the first step of the change is "
                             "decided, any other daemon goes on with it"},
                 {}, service_.names));
}

void NodeSetStream::EndLeases(StreamEnd /*end*/) {
  service_.shards.coordinator().Do(
      [this, self = shared_from_this()](Shard&) { follower_.reset(); });
}

}  // namespace redlock::rpc
