// Answers every Acquire and Release at once with a response of the usual size and does no work: the
// cost of an RPC without a lock.
#pragma once

#include <string>
#include <vector>

namespace redlock::bench {

// Both serve until the process is killed.
//
// The leanest server that gRPC allows: one completion queue, one thread, and response bytes that
// are made once.
int ServeEmpty(const std::vector<std::string>& addresses);
// As in gRPC's documentation: the callback API with its own threads and real messages.
int ServeEmptyByCallback(const std::vector<std::string>& addresses);

}  // namespace redlock::bench
