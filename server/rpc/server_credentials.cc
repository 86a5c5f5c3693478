#include "server/rpc/server_credentials.h"

#include <grpcpp/security/tls_credentials_options.h>

namespace redlock::rpc {

std::shared_ptr<grpc::ServerCredentials> CredentialsFor(const std::string& address,
                                                        const ServerCertificates* certificates) {
  if (certificates == nullptr || address.starts_with("unix:")) {
    return grpc::InsecureServerCredentials();
  }
  namespace tls = grpc::experimental;
  tls::TlsServerCredentialsOptions options(certificates->provider());
  options.watch_identity_key_cert_pairs();
  if (certificates->mutual()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return tls::TlsServerCredentials(options);
}

}  // namespace redlock::rpc
