// All settings of an operator, validated. Immutable after startup.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include "server/core/options.h"
#include "server/core/retry_policy.h"
#include "server/redis/endpoint.h"

namespace redlock::config {

enum class LogFormat { kText, kJson };

struct Config {
  std::vector<std::string> listen = {"127.0.0.1:50051"};  // host:port or unix:/path
  // Authentication and authorization of callers.
  std::string tls_cert, tls_key;  // PEM files; empty: no TLS
  std::string tls_client_ca;      // PEM file; empty: no client certificates
  std::string token_file;
  std::string access_list;
  bool insecure = false;  // allow non-local addresses without TLS and tokens
  std::string unix_socket_mode = "0660";
  std::string unix_socket_owner;  // user, user:group or :group; empty: unchanged

  std::string metrics_listen;  // host:port; empty: no metrics, no status page
  std::vector<redis::Endpoint> nodes;
  redis::TlsOptions redis_tls;
  bool dev = false;
  std::size_t shards = 1;

  LockOptions lock;
  RetryPolicy retry;  // for fields that a request leaves unset
  Duration max_ttl = std::chrono::minutes(5);
  Duration fence_retention = std::chrono::minutes(1);

  std::size_t max_connections = 10'000;
  std::size_t max_streams = 10'000;
  std::size_t max_items_per_stream = 1'000;
  std::size_t max_session_operations = 20'000;
  std::size_t max_message_bytes = std::size_t{1} << 20;
  Duration keepalive_time = std::chrono::seconds(10);
  Duration keepalive_timeout = std::chrono::seconds(5);
  Duration drain_timeout = std::chrono::seconds(10);

  std::string log_level = "info";
  LogFormat log_format = LogFormat::kText;
  std::string audit_log;  // path, or "-" for standard output; empty: none
};

// As it can be written on the command line: "250ms", "10s", "5m" or "24h".
[[nodiscard]] std::string FlagText(Duration duration);

// An invalid setting. The message names the flag, the value and the allowed values.
class ConfigError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Checks modes, and constraints between flags. Throws ConfigError.
void Validate(const Config& config);

// What is allowed, but probably not intended. For the log.
[[nodiscard]] std::vector<std::string> Warnings(const Config& config);

}  // namespace redlock::config
