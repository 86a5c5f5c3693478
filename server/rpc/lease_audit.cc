#include "server/rpc/lease_audit.h"

#include <utility>

namespace redlock::rpc {

std::shared_ptr<LeaseAudit> LeaseAudit::Of(observe::AuditLog* log,
                                           const grpc::ServerContextBase& context,
                                           const CallLog& call, const std::string& identity) {
  if (log == nullptr) return nullptr;
  return std::make_shared<LeaseAudit>(
      *log, observe::AuditCaller{
                .identity = identity, .peer = context.peer(), .tag = call.TagOf(context)});
}

LeaseAudit::LeaseAudit(observe::AuditLog& log, observe::AuditCaller caller)
    : log_(log), caller_(std::move(caller)) {}

void LeaseAudit::OnAcquired(const AcquireResult& result, const OwnerLabel& owner) {
  log_.Write({.event = "acquired",
              .key = result.lease->key,
              .owner = owner,
              .fence = result.lease->fence,
              .already_held = result.extended,
              .waited = result.waited},
             caller_);
}

void LeaseAudit::OnReleased(const Holding& holding, MonotonicTime now) {
  log_.Write({.event = "released",
              .key = holding.key,
              .owner = holding.owner,
              .fence = holding.fence,
              .held = holding.HeldFor(now)},
             caller_);
}

void LeaseAudit::OnLost(const Holding& holding, const Error& why, MonotonicTime now) {
  log_.Write({.event = "lost",
              .key = holding.key,
              .owner = holding.owner,
              .fence = holding.fence,
              .held = holding.HeldFor(now),
              .reason = ToString(why.reason),
              .why = why.message},
             caller_);
}

void LeaseAudit::OnForceReleased(const Key& key, const OwnerLabel& owner, FencingToken fence,
                                 const std::string& why) {
  log_.Write({.event = "force_released", .key = key, .owner = owner, .fence = fence, .why = why},
             caller_);
}

}  // namespace redlock::rpc
