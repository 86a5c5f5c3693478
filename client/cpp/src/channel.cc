#include "client/cpp/src/channel.h"

#include <grpcpp/create_channel.h>

#include <fstream>
#include <sstream>
#include <stdexcept>

#include "client/cpp/core/endpoint.h"
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
  if (options.certificate_file.empty() != options.key_file.empty()) {
    throw std::invalid_argument("certificate_file and key_file: give both or neither");
  }
  if (!UsesTls(endpoint, options)) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions ssl;
  if (!options.ca_file.empty()) ssl.pem_root_certs = ReadPem(options.ca_file, kCertificate);
  if (!options.certificate_file.empty()) {
    ssl.pem_cert_chain = ReadPem(options.certificate_file, kCertificate);
    ssl.pem_private_key = ReadPem(options.key_file, "PRIVATE KEY");
  }
  return grpc::SslCredentials(ssl);
}

// Takes from 10 ms to a day. gRPC has no use for more, and counts in an int.
int MillisOf(const char* option, Duration value) {
  if (value < std::chrono::milliseconds(10) || value > std::chrono::hours(24)) {
    throw std::invalid_argument(std::string(option) + ": must be from 10 ms to 24 h, not " +
                                InWords(value));
  }
  return static_cast<int>(Millis(value));
}

grpc::ChannelArguments ArgumentsFor(const Options& options) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, MillisOf("keepalive_time", options.keepalive_time));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                   MillisOf("keepalive_timeout", options.keepalive_timeout));
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Despite its name, this is how long gRPC tries one address, including the TLS handshake.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
                   MillisOf("connect_timeout", options.connect_timeout));
  // The client itself decides when to reconnect.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  // A proxy in the environment (http_proxy) is for websites. It may not reach the daemon, or may
  // end streams that stay open.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

}  // namespace

bool UsesTls(const std::string& endpoint, const Options& options) {
  return (options.tls || !options.ca_file.empty()) && !IsUnix(endpoint);
}

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
