// Translates requests into commands of the core: parses them, checks every field and fills in
// defaults.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <utility>
#include <variant>
#include <vector>

#include "proto/redlock/v1/admin_service.pb.h"
#include "proto/redlock/v1/lock_service.pb.h"
#include "server/config/config.h"
#include "server/core/leases/lease_set.h"
#include "server/rpc/status.h"

namespace redlock::rpc {

// Limits and defaults for the fields of requests.
struct RequestRules {
  Duration max_ttl;
  RetryPolicy default_retry;
  std::size_t max_items;
};

// The command, or all faults of the request.
template <typename Command>
using Checked = std::variant<Command, Violations>;

struct InspectCommand {
  Key key;
  Source source = {};
};
struct ObserveCommand {
  Key key;
};

// Parses a message and returns its faults. If a text is not UTF-8, protobuf rejects the whole
// message; the fault then names the field.
[[nodiscard]] Violations ParseMessage(const grpc::ByteBuffer& buffer,
                                      google::protobuf::Message& message);

// Check the fields of a request. TTLs are rounded down to whole milliseconds, the unit of the
// nodes.
[[nodiscard]] Checked<AcquireCommand> Check(const v1::AcquireRequest& request,
                                            const RequestRules& rules);
[[nodiscard]] Checked<ExtendCommand> Check(const v1::ExtendRequest& request,
                                           const RequestRules& rules);
[[nodiscard]] Checked<ReleaseCommand> Check(const v1::ReleaseRequest& request,
                                            const RequestRules& rules);
[[nodiscard]] Checked<ProclaimCommand> Check(const v1::ProclaimRequest& request,
                                             const RequestRules& rules);
[[nodiscard]] Checked<InspectCommand> Check(const v1::InspectRequest& request,
                                            const RequestRules& rules);
[[nodiscard]] Checked<ObserveCommand> Check(const v1::ObserveRequest& request,
                                            const RequestRules& rules);
[[nodiscard]] Checked<HoldCommand> Check(const v1::HoldRequest& request, const RequestRules& rules);
[[nodiscard]] Checked<GiveUpCommand> Check(const v1::GiveUpOperation& operation,
                                           const RequestRules& rules);
[[nodiscard]] Checked<AdoptCommand> Check(const v1::AdoptOperation& operation,
                                          const RequestRules& rules);
// Checks SessionRequest.disconnect_grace.
[[nodiscard]] Checked<Duration> CheckGrace(const google::protobuf::Duration& grace,
                                           const RequestRules& rules);
// For an acquire in a Session, whose lease is extended for as long as the Session lives.
[[nodiscard]] Checked<HoldCommand> CheckHold(const v1::AcquireRequest& request,
                                             const RequestRules& rules);
[[nodiscard]] Checked<std::vector<WatchCommand>> Check(const v1::WatchRequest& request,
                                                       const RequestRules& rules);

// Parses a message and checks the request in it.
template <typename Request>
[[nodiscard]] auto ParseAndCheck(const grpc::ByteBuffer& message, const RequestRules& rules)
    -> decltype(Check(std::declval<const Request&>(), rules)) {
  Request request;
  if (Violations faults = ParseMessage(message, request); !faults.empty()) return faults;
  return Check(request, rules);
}

// Everything but whether the nodes and members that it names exist. A request with `init` is valid
// with nothing else, and its command is empty.
[[nodiscard]] Checked<ChangeRequest> Check(const v1::ChangeNodeSetRequest& request);

}  // namespace redlock::rpc
