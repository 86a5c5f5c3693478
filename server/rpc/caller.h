// The caller of a call: its identity and what it may do.
#pragma once

#include <grpcpp/server_context.h>

#include <optional>
#include <string>
#include <string_view>

#include "server/access/access.h"
#include "server/core/rounds/concurrency_limiter.h"
#include "server/rpc/status.h"

namespace redlock::rpc {

// gRPC bounds only what one call may send at most before the whole connection ends.
[[nodiscard]] bool HasTooMuchMetadata(const grpc::ServerContextBase& context);

// The access must outlive this object.
class Caller {
 public:
  // Returns nullopt if credentials are required and the call has no valid ones.
  [[nodiscard]] static std::optional<Caller> Of(const access::Access& access,
                                                const grpc::ServerContextBase& context);
  // The origin that `daemon` stores with the locks that the caller acquires.
  [[nodiscard]] Origin OriginAt(const std::string& daemon,
                                const grpc::ServerContextBase& context) const;

  // What the access list allows now. Of several keys, each must be allowed.
  [[nodiscard]] bool May(access::Action action, const Key& key) const {
    bool may = true;
    if (access_ == nullptr) return may;
    key.ForEach(
        [&](std::string_view name) { may = may && access_->Allows(identity(), action, name); });
    return may;
  }
  [[nodiscard]] bool MayWithAllKeys(access::Action action) const {
    return access_ == nullptr || access_->AllowsAllKeys(identity(), action);
  }
  [[nodiscard]] bool MayWithSomeKeys(access::Action action) const {
    return access_ == nullptr || access_->AllowsSomeKeys(identity(), action);
  }
  // Whether the caller's credentials are still valid. They may be revoked while the call is open.
  [[nodiscard]] bool IsValid() const { return access_ == nullptr || access_->IsValid(who_); }
  // Why the caller may not do this now, if so.
  [[nodiscard]] std::optional<Refusal> RefusalOf(access::Action action, const Key& key) const {
    if (!IsValid()) return Refusal::kTokenRevoked;
    if (!May(action, key)) return Refusal::kPermissionDenied;
    return std::nullopt;
  }
  // Empty if no credentials are required.
  [[nodiscard]] const std::string& identity() const { return who_.identity; }
  // The source of the call, for fairness between callers: the identity, or else the connection.
  [[nodiscard]] Source source() const { return source_; }

 private:
  const access::Access* access_ = nullptr;  // null if no credentials are required
  access::Identification who_;
  Source source_;
};

// Names a caller to people: "billing at ipv4:10.0.0.1:4711", or only the address if the identity is
// empty.
[[nodiscard]] std::string NameOfCaller(const std::string& identity, const std::string& peer);

}  // namespace redlock::rpc
