#include "client/redlockctl/daemon.h"

#include <grpcpp/create_channel.h>

#include <fstream>
#include <sstream>

namespace redlockctl {
namespace {

// Of one of several servers, before the next one is asked.
constexpr auto kConnectTimeout = std::chrono::seconds(1);

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::shared_ptr<grpc::Channel> ChannelTo(const std::string& server, const Options& options) {
  if (options.tls_ca.empty() || server.starts_with("unix:")) {
    return grpc::CreateChannel(server, grpc::InsecureChannelCredentials());
  }
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = ReadFile(options.tls_ca);
  if (!options.tls_cert.empty()) {
    tls.pem_cert_chain = ReadFile(options.tls_cert);
    tls.pem_private_key = ReadFile(options.tls_key);
  }
  return grpc::CreateChannel(server, grpc::SslCredentials(tls));
}

}  // namespace

Daemon::Daemon(const Options& options) : auth_token_(options.auth_token) {
  std::shared_ptr<grpc::Channel> channel;
  for (const std::string& server : options.servers) {
    server_ = server;
    channel = ChannelTo(server, options);
    // The last one has to do; whoever asks it hears why it does not.
    const auto patience = std::chrono::system_clock::now() + kConnectTimeout;
    if (server == options.servers.back() || channel->WaitForConnected(patience)) break;
  }
  stubs_ = {redlock::v1::LockService::NewStub(channel), redlock::v1::AdminService::NewStub(channel),
            grpc::health::v1::Health::NewStub(channel)};
}

void Daemon::Identify(grpc::ClientContext& context) const {
  if (!auth_token_.empty()) context.AddMetadata("authorization", "Bearer " + auth_token_);
}

void Daemon::SetDeadline(grpc::ClientContext& context, Millis timeout) {
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::microseconds>(timeout));
}

}  // namespace redlockctl
