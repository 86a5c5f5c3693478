// Asynchronous lock operations through the service, over one connection or several, from one thread
// and one completion queue.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "proto/redlock/v1/lock_service.pb.h"
#include "tests/bench/load.h"

namespace redlock::bench {

struct Answer {
  std::size_t number = 0;
  std::string reason;  // why the operation failed; empty if it succeeded
  v1::Lease lease;     // of an acquire or an extend that succeeded

  [[nodiscard]] bool ok() const { return reason.empty(); }
  [[nodiscard]] bool refused() const { return reason == "OVERLOADED"; }
};

// The caller numbers its operations; a number has at most one operation under way.
class RpcCalls {
 public:
  virtual ~RpcCalls() = default;
  virtual void Acquire(std::size_t number, v1::AcquireRequest request) = 0;
  virtual void Extend(std::size_t number, v1::ExtendRequest request) = 0;
  virtual void Release(std::size_t number, v1::ReleaseRequest request) = 0;
  // Waits for answers until that time, which gRPC rounds up to a millisecond. The answers are valid
  // until the next call. Throws std::runtime_error if a stream has ended.
  [[nodiscard]] virtual std::span<const Answer> Wait(Clock::time_point until) = 0;
  // How many leases the daemon has reported as lost.
  [[nodiscard]] virtual std::size_t lost() const { return 0; }
};

// Unary calls over one connection.
[[nodiscard]] std::unique_ptr<RpcCalls> UnaryCalls(const std::string& address);
// Operations of Sessions, each over its own connection. An operation's number selects the Session.
[[nodiscard]] std::unique_ptr<RpcCalls> SessionCalls(const std::string& address,
                                                     std::size_t sessions);

}  // namespace redlock::bench
