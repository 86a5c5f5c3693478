// The address of a node and the credentials for it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "server/secrets/password_file.h"

namespace redlock::redis {

struct Endpoint {
  enum class Kind { kTcp, kTls, kUnix };
  Kind kind = Kind::kTcp;
  std::string host;  // for kTcp and kTls
  std::uint16_t port = 6379;
  std::string path;  // for kUnix
  std::string user;  // empty: the default user
  std::string password;
  // If set, the password is read from it at each log-in. Shared by all connections to the node.
  std::shared_ptr<secrets::PasswordFile> password_file;
  int database = 0;

  // The address without credentials, for logs, votes and metrics.
  [[nodiscard]] std::string Name() const {
    if (kind == Kind::kUnix) return "unix:" + path;
    const bool v6 = host.find(':') != std::string::npos;
    return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
  }
};

// TLS settings for kTls endpoints. Paths to PEM files; empty: not set.
struct TlsOptions {
  std::string ca_file;    // CA of the nodes' certificates; empty: the system's CAs
  std::string cert_file;  // client certificate
  std::string key_file;
};

}  // namespace redlock::redis
