// The errors of acquisitions that were refused or took too long. Whether another holder has the
// lock, no quorum of nodes can be reached, or no daemon answers, are different reasons.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "client/cpp/core/messages.h"

namespace redlock::client {

// A refused or failed call is not repeated earlier, even if the daemon asks for less.
constexpr Duration kShortestRetry = std::chrono::milliseconds(50);

// The policy of a single try; otherwise `retry`.
[[nodiscard]] std::optional<RetryPolicy> RetryOf(bool single_try,
                                                 const std::optional<RetryPolicy>& retry);

// The daemon refused the acquisition of `key`. If it has named the holder, the message does
// too, and says for how long the holder has held the lock.
[[nodiscard]] Error Refused(const std::string& key, Error error);

// The time to wait is over, and a daemon could be reached. `answer`: that of the daemon to the
// cancelled acquire, if it has arrived. `last_failure`: why the last attempt could not be decided.
[[nodiscard]] Error WaitOver(const std::string& key, Duration wait, const Answer* answer,
                             const std::optional<Error>& last_failure);

// The time to wait is over, and no daemon could be reached, because of `failures`.
[[nodiscard]] Error NoDaemonWithin(Duration wait, const std::string& failures);

}  // namespace redlock::client
