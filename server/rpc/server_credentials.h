// Makes the credentials that secure callers' connections.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "server/rpc/server_certificates.h"

namespace redlock::rpc {

// Returns the credentials for one listening address: TLS if there are certificates, except on Unix
// sockets. The certificates must outlive the server.
[[nodiscard]] std::shared_ptr<grpc::ServerCredentials> CredentialsFor(
    const std::string& address, const ServerCertificates* certificates);

}  // namespace redlock::rpc
