// Translates the failure of a call into a message and an exit status.
#pragma once

#include <grpcpp/support/status.h>
#include <redlock/client.h>

#include <chrono>
#include <optional>
#include <string>

#include "proto/redlock/v1/lock_service.pb.h"

namespace redlockctl {

// Exit statuses, for scripts. Part of the command's documented interface.
enum ExitStatus : int {
  kExitOk = 0,
  kExitFailed = 1,       // anything not listed below
  kExitUsage = 2,        // invalid arguments
  kExitHeld = 3,         // another holder has the lock, or the time to wait ran out
  kExitNotHeld = 4,      // the token does not hold the key, or the lock was lost
  kExitNoQuorum = 5,     // too few Redis nodes answered
  kExitUnreachable = 6,  // the daemon did not answer
};

// A failed call, with the details that the daemon sent.
struct Failure {
  std::string reason;  // from lock_service.proto; empty if the daemon sent none
  std::string message;
  std::string last_reason;  // of an acquisition whose time is over: why its last attempt failed
  redlock::v1::Votes votes;
  std::optional<std::chrono::milliseconds> retry_after;
  ExitStatus exit_status = kExitFailed;
};

// That another holder has the lock, with the holder's label and for how long, if they are known.
[[nodiscard]] std::string HeldBy(const std::string& owner,
                                 const std::optional<redlock::client::Duration>& held_for);
// The same for a key that is held.
[[nodiscard]] std::string HeldBy(const redlock::v1::InspectResponse& response);
// Whether the error says who holds the lock.
[[nodiscard]] bool NamesHolder(const redlock::client::Error& error);

// For a call through a stub.
[[nodiscard]] Failure Explain(const grpc::Status& status);
// For an operation of the C++ client library.
[[nodiscard]] Failure Explain(const redlock::client::Error& error);

}  // namespace redlockctl
