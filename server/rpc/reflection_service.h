// grpc.reflection.v1.ServerReflection and its v1alpha: describes services and messages to tools
// such as grpcurl.
#pragma once

#include <string>
#include <vector>

#include "server/rpc/open_quota.h"
#include "server/rpc/stream_call.h"

namespace redlock::rpc {

// `services`: the full names of the services to list. The quota must outlive the server.
void AddReflection(Routes& routes, std::vector<std::string> services, OpenQuota& quota);

}  // namespace redlock::rpc
