#include "server/check_config.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>

#include "server/access/access.h"
#include "server/observe/audit_log.h"
#include "server/redis/node_tls.h"
#include "server/rpc/server_certificates.h"
#include "server/rpc/unix_socket.h"

namespace redlock {
namespace {

void ReadFiles(const config::Config& config) {
  if (!config.tls_cert.empty()) (void)rpc::ServerCertificates(config);
  const access::Access access({.token_file = config.token_file,
                               .access_list = config.access_list,
                               .client_certificates = !config.tls_client_ca.empty()});
  if (std::any_of(config.nodes.begin(), config.nodes.end(), [](const redis::Endpoint& node) {
        return node.kind == redis::Endpoint::Kind::kTls;
      })) {
    (void)redis::NodeTls(config.redis_tls);
  }
  if (!config.audit_log.empty()) observe::CheckAuditLog(config.audit_log);
  if (!config.unix_socket_owner.empty()) (void)rpc::OwnerOf(config.unix_socket_owner);
}

}  // namespace

void RequireFiles(const config::Config& config) {
  try {
    ReadFiles(config);
  } catch (const std::exception& error) {
    throw config::ConfigError(error.what());
  }
}

void CheckConfig(const config::CommandLine& command) {
  RequireFiles(command.config);
  for (const std::string& warning : command.warnings) {
    std::fprintf(stderr, "redlockd: warning: %s\n", warning.c_str());
  }
  std::fprintf(stdout, "# redlockd " REDLOCKD_VERSION ": the configuration is valid\n%s",
               config::AsToml(command.settings).c_str());
}

void LogStart(const config::CommandLine& command) {
  spdlog::info("redlockd " REDLOCKD_VERSION " starts, configuration file: {}",
               command.config_file.empty() ? "none" : command.config_file);
  const auto& settings = command.settings;
  for (auto at = settings.begin(); at != settings.end();) {
    const std::string& group = at->group;
    std::string line;
    for (; at != settings.end() && at->group == group; ++at) {
      line += " " + at->name + "=" + at->value;
    }
    spdlog::info("settings, {}:{}", group, line);
  }
  for (const std::string& warning : command.warnings) spdlog::warn("{}", warning);
}

}  // namespace redlock
