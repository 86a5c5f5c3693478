#include "server/runtime/descriptors.h"

#include <sys/resource.h>

#include <algorithm>
#include <string>

namespace redlock::runtime {
namespace {

constexpr std::size_t kLeast = 4;  // fewer connections are of no use
// Standard streams, listeners, gRPC, files that are read again.
constexpr std::size_t kForTheProcess = 24;
constexpr std::size_t kForAShard = 8;
// Two connections, and those that replace them while they are being closed.
constexpr std::size_t kForANode = 4;
constexpr std::size_t kPartForMetrics = 16;  // of the limit

}  // namespace

std::size_t RaiseDescriptorLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  rlimit raised = limit;
  raised.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  return limit.rlim_cur;
}

std::size_t MostConnections(const config::Config& config, std::size_t limit) {
  const std::size_t reserved = kForTheProcess + limit / kPartForMetrics +
                               config.shards * (kForAShard + kForANode * config.nodes.size());
  if (limit < reserved + kLeast) {
    throw config::ConfigError("the limit of open files (ulimit -n) is " + std::to_string(limit) +
                              ": raise it to at least " + std::to_string(2 * reserved));
  }
  return std::min(config.max_connections, limit - reserved);
}

}  // namespace redlock::runtime
