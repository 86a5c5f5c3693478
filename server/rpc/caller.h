// Who a call comes from, and what they may do.
#pragma once

#include <grpcpp/server_context.h>

#include <optional>
#include <string>
#include <string_view>

#include "server/access/access.h"
#include "server/core/rounds/concurrency_limiter.h"

namespace redlock::rpc {

// The access must outlive it.
class Caller {
 public:
  // Nothing where callers have to say who they are, and this one has not.
  [[nodiscard]] static std::optional<Caller> Of(const access::Access& access,
                                                const grpc::ServerContextBase& context);

  [[nodiscard]] bool May(access::Action action, std::string_view key) const {
    return access_ == nullptr || access_->Allows(identity_, action, key);
  }
  // Empty if nobody is asked.
  [[nodiscard]] const std::string& identity() const { return identity_; }
  // Whose requests are served in turns with those of others: the identity's, or else the
  // connection's.
  [[nodiscard]] Source source() const { return source_; }

 private:
  const access::Access* access_ = nullptr;  // null where nobody is asked
  std::string identity_;
  Source source_;
};

}  // namespace redlock::rpc
