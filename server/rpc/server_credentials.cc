#include "server/rpc/server_credentials.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/ssl.h>

#include <utility>

namespace redlock::rpc {
namespace {

constexpr unsigned int kLookForNewFilesSeconds = 10;

// Checks the files at startup. With unusable files, gRPC would start and refuse every handshake.
void CheckFiles(const config::Config& config) {
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_server_method()),
                                                                  SSL_CTX_free);
  const auto check = [](bool usable, const std::string& flag, const std::string& file) {
    if (!usable) throw config::ConfigError(flag + " " + file + ": is not a readable PEM file");
  };
  check(SSL_CTX_use_certificate_chain_file(context.get(), config.tls_cert.c_str()) == 1,
        "--tls-cert", config.tls_cert);
  check(SSL_CTX_use_PrivateKey_file(context.get(), config.tls_key.c_str(), SSL_FILETYPE_PEM) == 1,
        "--tls-key", config.tls_key);
  if (SSL_CTX_check_private_key(context.get()) != 1) {
    throw config::ConfigError("--tls-key " + config.tls_key + ": does not match --tls-cert");
  }
  if (config.tls_client_ca.empty()) return;
  check(SSL_CTX_load_verify_file(context.get(), config.tls_client_ca.c_str()) == 1,
        "--tls-client-ca", config.tls_client_ca);
}

}  // namespace

std::shared_ptr<grpc::ServerCredentials> CredentialsFor(const std::string& address,
                                                        const config::Config& config) {
  if (config.tls_cert.empty() || address.starts_with("unix:")) {
    return grpc::InsecureServerCredentials();
  }
  CheckFiles(config);
  namespace tls = grpc::experimental;
  const bool mutual = !config.tls_client_ca.empty();
  auto files =
      mutual ? std::make_shared<tls::FileWatcherCertificateProvider>(
                   config.tls_key, config.tls_cert, config.tls_client_ca, kLookForNewFilesSeconds)
             : std::make_shared<tls::FileWatcherCertificateProvider>(
                   config.tls_key, config.tls_cert, kLookForNewFilesSeconds);
  tls::TlsServerCredentialsOptions options(std::move(files));
  options.watch_identity_key_cert_pairs();
  if (mutual) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return tls::TlsServerCredentials(options);
}

}  // namespace redlock::rpc
