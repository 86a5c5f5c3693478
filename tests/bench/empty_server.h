// Answers every Acquire and Release at once with bytes of the usual size, looking at nothing: what
// an RPC costs without a lock.
#pragma once

#include <string>
#include <vector>

namespace redlock::bench {

// Serves until it is killed.
//
// The leanest that gRPC has: one completion queue, one thread, messages as bytes that are made
// once.
int ServeEmpty(const std::vector<std::string>& addresses);
// As gRPC's documentation has it: the callback API, with its own threads, and messages as messages.
int ServeEmptyByCallback(const std::vector<std::string>& addresses);

}  // namespace redlock::bench
