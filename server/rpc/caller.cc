#include "server/rpc/caller.h"

#include <grpcpp/security/auth_context.h>

#include <functional>

#include "server/observe/origin.h"

namespace redlock::rpc {

bool HasTooMuchMetadata(const grpc::ServerContextBase& context) {
  constexpr std::size_t kMostBytes = 16 << 10;
  constexpr std::size_t kOverhead = 32;  // of an entry, as HTTP/2 counts
  std::size_t bytes = 0;
  for (const auto& [name, value] : context.client_metadata()) {
    bytes += name.size() + value.size() + kOverhead;
  }
  return bytes > kMostBytes;
}

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
  auto who = access.Identify(credentials);
  if (!who) return std::nullopt;
  caller.access_ = &access;
  caller.who_ = std::move(*who);
  caller.source_ = {std::hash<std::string>()(caller.identity())};
  return caller;
}

Origin Caller::OriginAt(const std::string& daemon, const grpc::ServerContextBase& context) const {
  return observe::Encode({.daemon = daemon, .identity = identity(), .peer = context.peer()});
}

std::string NameOfCaller(const std::string& identity, const std::string& peer) {
  return identity.empty() ? peer : identity + " at " + peer;
}

}  // namespace redlock::rpc
