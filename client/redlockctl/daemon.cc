#include "client/redlockctl/daemon.h"

#include <utility>

#include "client/cpp/src/channel.h"

namespace redlockctl {
namespace {

// How long to wait for one server before trying the next one.
constexpr auto kConnectTimeout = std::chrono::seconds(1);

}  // namespace

Daemon::Daemon(const redlock::client::Options& options, std::string auth_token)
    : auth_token_(std::move(auth_token)) {
  std::shared_ptr<grpc::Channel> channel;
  for (const std::string& server : options.endpoints) {
    server_ = server;
    channel = redlock::client::OpenChannel(server, options);
    // The last one is used in any case: a call to it then reports why it fails.
    const auto patience = std::chrono::system_clock::now() + kConnectTimeout;
    if (server == options.endpoints.back() || channel->WaitForConnected(patience)) break;
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
