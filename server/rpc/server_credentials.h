// How callers' connections are secured.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "server/config/config.h"

namespace redlock::rpc {

// For one address that is listened on: TLS where that is configured, but not on a unix socket.
// Certificates are read anew when their files change. Throws config::ConfigError where a file
// cannot be used.
[[nodiscard]] std::shared_ptr<grpc::ServerCredentials> CredentialsFor(const std::string& address,
                                                                      const config::Config& config);

}  // namespace redlock::rpc
