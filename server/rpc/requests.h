// From requests to commands of the core: parses, checks every field, fills in the defaults.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <variant>
#include <vector>

#include "proto/redlock/v1/lock_service.pb.h"
#include "server/config/config.h"
#include "server/core/leases/lease_set.h"
#include "server/rpc/status.h"

namespace redlock::rpc {

// What a request may ask for, and what it gets where it does not say.
struct RequestRules {
  Duration max_ttl;
  RetryPolicy default_retry;
  std::size_t max_items;
};

// The command, or every fault of the request.
template <typename Command>
using Checked = std::variant<Command, Violations>;

struct InspectCommand {
  Key key;
};

// Parses a message. Text that is not UTF-8 makes protobuf refuse the whole message; the fault is
// then looked for and named.
[[nodiscard]] Violations ParseMessage(const grpc::ByteBuffer& buffer,
                                      google::protobuf::Message& message);

// TTLs are cut to whole milliseconds, which is what the nodes count in.
[[nodiscard]] Checked<AcquireCommand> Check(const v1::AcquireRequest& request,
                                            const RequestRules& rules);
[[nodiscard]] Checked<ExtendCommand> Check(const v1::ExtendRequest& request,
                                           const RequestRules& rules);
[[nodiscard]] Checked<ReleaseCommand> Check(const v1::ReleaseRequest& request,
                                            const RequestRules& rules);
[[nodiscard]] Checked<InspectCommand> Check(const v1::InspectRequest& request,
                                            const RequestRules& rules);
[[nodiscard]] Checked<HoldCommand> Check(const v1::HoldRequest& request, const RequestRules& rules);
[[nodiscard]] Checked<AdoptCommand> Check(const v1::AdoptOperation& operation,
                                          const RequestRules& rules);
// SessionRequest.disconnect_grace.
[[nodiscard]] Checked<Duration> CheckGrace(const google::protobuf::Duration& grace,
                                           const RequestRules& rules);
// An acquisition of a Session is extended for as long as the Session lives.
[[nodiscard]] Checked<HoldCommand> CheckHold(const v1::AcquireRequest& request,
                                             const RequestRules& rules);
[[nodiscard]] Checked<std::vector<WatchCommand>> Check(const v1::WatchRequest& request,
                                                       const RequestRules& rules);

}  // namespace redlock::rpc
