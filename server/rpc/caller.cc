#include "server/rpc/caller.h"

#include <grpcpp/security/auth_context.h>

#include <functional>

namespace redlock::rpc {

std::optional<Caller> Caller::Of(const access::Access& access,
                                 const grpc::ServerContextBase& context) {
  Caller caller;
  if (!access.asks()) {
    caller.source_ = {std::hash<std::string>()(context.peer())};
    return caller;
  }
  access::Credentials credentials;
  const auto& metadata = context.client_metadata();
  if (const auto found = metadata.find("authorization"); found != metadata.end()) {
    credentials.authorization = {found->second.data(), found->second.size()};
  }
  const auto peer = context.auth_context();
  if (peer && peer->IsPeerAuthenticated()) {
    const auto names = peer->GetPeerIdentity();
    if (!names.empty()) credentials.certificate = std::string(names[0].data(), names[0].size());
  }
  auto identity = access.Identify(credentials);
  if (!identity) return std::nullopt;
  caller.access_ = &access;
  caller.identity_ = std::move(*identity);
  caller.source_ = {std::hash<std::string>()(caller.identity_)};
  return caller;
}

}  // namespace redlock::rpc
