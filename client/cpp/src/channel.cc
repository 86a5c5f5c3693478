#include "client/cpp/src/channel.h"

#include <grpcpp/create_channel.h>

#include <fstream>
#include <sstream>
#include <stdexcept>

#include "client/cpp/core/time.h"

namespace redlock::client {
namespace {

constexpr const char* kCertificate = "CERTIFICATE";

// Checks the file here, because gRPC would only log the error and report the daemon as unreachable.
std::string ReadPem(const std::string& path, const std::string& what) {
  std::string text = ReadFile(path);
  if (text.find(what + "-----") == std::string::npos) {
    throw std::invalid_argument(path + ": contains no " + what + " in PEM format");
  }
  return text;
}

std::shared_ptr<grpc::ChannelCredentials> CredentialsFor(const std::string& endpoint,
                                                         const Options& options) {
  const bool tls = options.tls || !options.ca_file.empty();
  if (!tls || endpoint.starts_with("unix:")) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions ssl;
  if (!options.ca_file.empty()) ssl.pem_root_certs = ReadPem(options.ca_file, kCertificate);
  if (!options.certificate_file.empty()) {
    ssl.pem_cert_chain = ReadPem(options.certificate_file, kCertificate);
    ssl.pem_private_key = ReadPem(options.key_file, "PRIVATE KEY");
  }
  return grpc::SslCredentials(ssl);
}

void SetMillis(grpc::ChannelArguments& arguments, const std::string& name, Duration value) {
  arguments.SetInt(name, static_cast<int>(Millis(value)));
}

grpc::ChannelArguments ArgumentsFor(const Options& options) {
  grpc::ChannelArguments arguments;
  SetMillis(arguments, GRPC_ARG_KEEPALIVE_TIME_MS, options.keepalive_time);
  SetMillis(arguments, GRPC_ARG_KEEPALIVE_TIMEOUT_MS, options.keepalive_timeout);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // The client itself decides when to reconnect.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // How long gRPC tries one address of an endpoint, including the TLS handshake. Leaves time for
  // two addresses.
  SetMillis(arguments, GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, options.connect_timeout / 2);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  return arguments;
}

}  // namespace

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw std::invalid_argument("cannot read the file " + path);
  return text.str();
}

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& endpoint, const Options& options) {
  return grpc::CreateCustomChannel(endpoint, CredentialsFor(endpoint, options),
                                   ArgumentsFor(options));
}

}  // namespace redlock::client
