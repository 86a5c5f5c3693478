#include "client/cpp/src/daemons.h"

#include <grpcpp/create_channel.h>

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace redlock::client {
namespace {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw std::invalid_argument(path + ": cannot be read");
  return text.str();
}

std::shared_ptr<grpc::ChannelCredentials> CredentialsFor(const std::string& endpoint,
                                                         const Options& options) {
  const bool tls = options.tls || !options.ca_file.empty();
  if (!tls || endpoint.starts_with("unix:")) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions ssl;
  if (!options.ca_file.empty()) ssl.pem_root_certs = ReadFile(options.ca_file);
  if (!options.certificate_file.empty()) {
    ssl.pem_cert_chain = ReadFile(options.certificate_file);
    ssl.pem_private_key = ReadFile(options.key_file);
  }
  return grpc::SslCredentials(ssl);
}

int Millis(Duration duration) {
  return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

grpc::ChannelArguments ArgumentsFor(const Options& options) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, Millis(options.keepalive_time));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Millis(options.keepalive_timeout));
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // The client itself decides when to try again.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  return arguments;
}

}  // namespace

Daemons::Daemons(const Options& options) : token_file_(options.token_file) {
  if (options.endpoints.empty()) throw std::invalid_argument("endpoints: there is none");
  for (const std::string& endpoint : options.endpoints) {
    const auto channel = grpc::CreateCustomChannel(endpoint, CredentialsFor(endpoint, options),
                                                   ArgumentsFor(options));
    daemons_.push_back({endpoint, v1::LockService::NewStub(channel)});
  }
  (void)bearer_token();
}

std::string Daemons::bearer_token() const {
  if (token_file_.empty()) return {};
  std::string token = ReadFile(token_file_);
  token.erase(token.find_last_not_of(" \t\r\n") + 1);
  return token;
}

}  // namespace redlock::client
