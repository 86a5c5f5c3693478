// grpc.reflection.v1.ServerReflection, and v1alpha of it: tools such as grpcurl learn from it what
// is served, and of which messages.
#pragma once

#include <string>
#include <vector>

#include "server/rpc/stream_call.h"

namespace redlock::rpc {

// `services`: the full names that are listed.
void AddReflection(Routes& routes, std::vector<std::string> services);

}  // namespace redlock::rpc
