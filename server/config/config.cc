#include "server/config/config.h"

#include <cstdint>
#include <set>

#include "server/config/listen_address.h"
#include "server/config/settings.h"
#include "server/core/format.h"

namespace redlock::config {

namespace {

void ValidateCallers(const Config& config) {
  if (config.tls_cert.empty() != config.tls_key.empty()) {
    throw ConfigError("--tls-cert and --tls-key must be given together");
  }
  if (!config.tls_client_ca.empty() && config.tls_cert.empty()) {
    throw ConfigError("--tls-client-ca " + config.tls_client_ca +
                      ": requires --tls-cert and --tls-key");
  }
  if (!config.access_list.empty() && config.token_file.empty() && config.tls_client_ca.empty()) {
    throw ConfigError("--access-list " + config.access_list +
                      ": requires --token-file or --tls-client-ca, which identify callers");
  }
  if (config.insecure || !config.tls_cert.empty() || !config.token_file.empty()) return;
  for (const std::string& address : config.listen) {
    if (IsLocal(address)) continue;
    throw ConfigError(
        "--listen " + address +
        ": without TLS or tokens, any host on the network could take and release locks. Set "
        "--tls-cert and --tls-key, or --token-file, or pass --insecure");
  }
}

void ValidateKeyGroups(const KeyGroups& groups) {
  if (groups.patterns.size() > KeyGroups::kMost) {
    throw ConfigError("--key-group: at most " + std::to_string(KeyGroups::kMost) +
                      " groups are allowed, not " + std::to_string(groups.patterns.size()));
  }
  std::set<std::string> patterns;
  for (const std::string& pattern : groups.patterns) {
    if (!patterns.insert(pattern).second) {
      throw ConfigError("--key-group " + Quoted(pattern) + ": given twice");
    }
  }
}

void ValidateSocketMode(const std::string& mode) {
  const bool octal = (mode.size() == 3 || (mode.size() == 4 && mode[0] == '0')) &&
                     mode.find_first_not_of("01234567") == std::string::npos;
  if (!octal) {
    throw ConfigError("--unix-socket-mode" + Shown(mode) + ": must be an octal mode such as 0660");
  }
}

}  // namespace

std::string FlagText(Duration duration) {
  const std::int64_t ms = Millis(duration);
  if (ms != 0 && ms % 3'600'000 == 0) return std::to_string(ms / 3'600'000) + "h";
  if (ms != 0 && ms % 60'000 == 0) return std::to_string(ms / 60'000) + "m";
  if (ms != 0 && ms % 1'000 == 0) return std::to_string(ms / 1'000) + "s";
  return std::to_string(ms) + "ms";
}

void Validate(const Config& config) {
  std::set<std::string> listen;
  for (const std::string& address : config.listen) {
    const std::string one = SocketPath(address).value_or(address);
    if (!one.ends_with(":0") && !listen.insert(one).second) {
      throw ConfigError("--listen " + address + ": given twice");
    }
  }
  ValidateCallers(config);
  ValidateSocketMode(config.unix_socket_mode);
  if (config.dev && !config.nodes.empty()) {
    throw ConfigError("--dev: starts its own nodes and cannot be combined with --node");
  }
  if (!config.dev && config.nodes.empty()) {
    throw ConfigError(
        "--node: at least one Redis node is required, such as --node redis://127.0.0.1:6379 "
        "(or pass --dev to try redlockd without any)");
  }
  constexpr std::size_t kMaxNodes = 31;
  if (config.nodes.size() > kMaxNodes) {
    throw ConfigError("--node: at most " + std::to_string(kMaxNodes) + " nodes are allowed, not " +
                      std::to_string(config.nodes.size()));
  }
  std::set<std::string> names;
  for (const redis::Endpoint& node : config.nodes) {
    if (!names.insert(node.Name()).second) {
      throw ConfigError("--node " + node.Name() +
                        ": given twice; nodes must be independent, so list each of them once");
    }
  }
  ValidateKeyGroups(config.lock.key_groups);
  if (config.lock.node_timeout * 2 > config.max_ttl) {
    throw ConfigError("--node-timeout " + FlagText(config.lock.node_timeout) +
                      ": must be at most half of --max-ttl " + FlagText(config.max_ttl));
  }
  if (config.redis_tls.cert_file.empty() != config.redis_tls.key_file.empty()) {
    throw ConfigError("--redis-tls-cert and --redis-tls-key must be given together");
  }
}

std::vector<std::string> Warnings(const Config& config) {
  std::vector<std::string> warnings;
  if (config.token_file.empty() || !config.tls_cert.empty()) return warnings;
  for (const std::string& address : config.listen) {
    if (IsLocal(address)) continue;
    warnings.push_back("--listen " + address +
                       ": bearer tokens cross the network unencrypted; set --tls-cert and "
                       "--tls-key");
  }
  return warnings;
}

}  // namespace redlock::config
