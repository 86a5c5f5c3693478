#include "server/config/config.h"

#include <set>

namespace redlock::config {

void Validate(const Config& config) {
  if (config.dev && !config.nodes.empty()) {
    throw ConfigError("--dev starts its own nodes: it cannot be used together with --node");
  }
  if (!config.dev && config.nodes.empty()) {
    throw ConfigError(
        "--node: at least one Redis node is needed, e.g. --node redis://127.0.0.1:6379 "
        "(or --dev for a throw-away set-up)");
  }
  constexpr std::size_t kMaxNodes = 31;
  if (config.nodes.size() > kMaxNodes) {
    throw ConfigError("--node: at most " + std::to_string(kMaxNodes) + " nodes are allowed");
  }
  std::set<std::string> names;
  for (const redis::Endpoint& node : config.nodes) {
    if (!names.insert(node.Name()).second) {
      throw ConfigError("--node " + node.Name() +
                        ": given twice; nodes must be independent of each other");
    }
  }
  if (config.lock.node_timeout * 2 > config.max_ttl) {
    throw ConfigError("--node-timeout must be far below --max-ttl, at most half of it");
  }
  if (config.fence_retention < config.max_ttl) {
    throw ConfigError("--fence-retention must be at least --max-ttl");
  }
  if (config.redis_tls.cert_file.empty() != config.redis_tls.key_file.empty()) {
    throw ConfigError("--redis-tls-cert and --redis-tls-key must be given together");
  }
}

}  // namespace redlock::config
