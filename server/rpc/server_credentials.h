// Makes the credentials that secure callers' connections.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "server/config/config.h"

namespace redlock::rpc {

// Returns the credentials for one listening address: TLS if it is configured, except on Unix
// sockets. Certificates are reloaded when their files change. Throws config::ConfigError if a file
// cannot be used.
[[nodiscard]] std::shared_ptr<grpc::ServerCredentials> CredentialsFor(const std::string& address,
                                                                      const config::Config& config);

}  // namespace redlock::rpc
