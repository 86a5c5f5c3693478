// The caller of a call: its identity and what it may do.
#pragma once

#include <grpcpp/server_context.h>

#include <optional>
#include <string>
#include <string_view>

#include "server/access/access.h"
#include "server/core/rounds/concurrency_limiter.h"

namespace redlock::rpc {

// The access must outlive this object.
class Caller {
 public:
  // Returns nullopt if credentials are required and the call has no valid ones.
  [[nodiscard]] static std::optional<Caller> Of(const access::Access& access,
                                                const grpc::ServerContextBase& context);

  [[nodiscard]] bool May(access::Action action, std::string_view key) const {
    return access_ == nullptr || access_->Allows(identity_, action, key);
  }
  // Empty if no credentials are required.
  [[nodiscard]] const std::string& identity() const { return identity_; }
  // The source of the call, for fairness between callers: the identity, or else the connection.
  [[nodiscard]] Source source() const { return source_; }

 private:
  const access::Access* access_ = nullptr;  // null if no credentials are required
  std::string identity_;
  Source source_;
};

}  // namespace redlock::rpc
