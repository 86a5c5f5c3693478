// Explains why a call did not reach a daemon.
#pragma once

#include <grpcpp/support/status.h>

#include <string>

#include "client/cpp/core/time.h"
#include "client/cpp/include/redlock/client.h"

namespace redlock::client {

// How long finding out a cause may take. Some servers are far away.
inline constexpr Duration kDiagnosisPatience = std::chrono::seconds(1);

// Returns the message of a call that `endpoint` did not answer with success. If the connection
// failed, says why, and appends gRPC's text in brackets. If that text has several possible causes,
// connects once more to find out (tls_probe.h), and blocks for at most `patience`; zero: does not.
[[nodiscard]] std::string Diagnose(const grpc::Status& status, const std::string& endpoint,
                                   const Options& options, Duration patience);

}  // namespace redlock::client
