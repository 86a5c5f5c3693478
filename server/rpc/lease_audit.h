// Writes to the audit log what becomes of the leases of one call.
#pragma once

#include <grpcpp/server_context.h>

#include <memory>
#include <string>

#include "server/core/leases/lease_recorder.h"
#include "server/observe/audit_log.h"
#include "server/rpc/call_log.h"

namespace redlock::rpc {

// May outlive the call. Thread-safe.
class LeaseAudit final : public LeaseRecorder {
 public:
  // Returns null if there is no audit log. The log must outlive this object.
  [[nodiscard]] static std::shared_ptr<LeaseAudit> Of(observe::AuditLog* log,
                                                      const grpc::ServerContextBase& context,
                                                      const CallLog& call,
                                                      const std::string& identity);

  LeaseAudit(observe::AuditLog& log, observe::AuditCaller caller);

  void OnAcquired(const AcquireResult& result, const OwnerLabel& owner) override;
  void OnReleased(const Holding& holding, MonotonicTime now) override;
  void OnLost(const Holding& holding, const Error& why, MonotonicTime now) override;
  // An operator took the key away, for the reason `why`. `owner` and `fence` are those of its
  // holder.
  void OnForceReleased(const Key& key, const OwnerLabel& owner, FencingToken fence,
                       const std::string& why);

 private:
  observe::AuditLog& log_;
  const observe::AuditCaller caller_;
};

}  // namespace redlock::rpc
