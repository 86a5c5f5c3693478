#include "client/cpp/core/refusal.h"

#include <utility>

#include "client/cpp/core/keys.h"

namespace redlock::client {
namespace {

std::string HeldBy(const std::string& key, const std::string& holder) {
  return InWords(key) + ": held by \"" + holder + "\"";
}

bool IsOutage(Reason reason) {
  return reason == Reason::kQuorumUnavailable || reason == Reason::kNodeSetMismatch;
}

}  // namespace

std::optional<RetryPolicy> RetryOf(bool single_try, const std::optional<RetryPolicy>& retry) {
  if (!single_try) return retry;
  RetryPolicy once = retry.value_or(RetryPolicy{});
  once.max_retries = 0;
  return once;
}

Error Refused(const std::string& key, Error error) {
  if (error.holder.empty()) return error;
  if (error.reason == Reason::kLockAlreadyHeld) error.message = HeldBy(key, error.holder);
  if (error.reason == Reason::kMaxRetriesExceeded) {
    error.message = HeldBy(key, error.holder) + " after the last retry";
  }
  return error;
}

Error WaitOver(const std::string& key, Duration wait, const Answer* answer,
               const std::optional<Error>& last_failure) {
  const std::string over = "not acquired within " + InWords(wait);
  if (answer != nullptr && answer->last_reason && IsOutage(*answer->last_reason)) {
    return {*answer->last_reason,
            InWords(key) + ": " + over +
                (*answer->last_reason == Reason::kQuorumUnavailable
                     ? ": too few Redis nodes answered"
                     : ": the daemon and the nodes do not agree on the node set")};
  }
  if (last_failure) {
    return {last_failure->reason, InWords(key) + ": " + over + ": " + last_failure->message,
            last_failure->retry_after};
  }
  Error error{Reason::kDeadlineExceeded, InWords(key) + ": " + over};
  if (answer != nullptr && answer->error && !answer->error->holder.empty()) {
    error.holder = answer->error->holder;
    error.message = HeldBy(key, error.holder) + "; " + over;
  }
  return error;
}

Error NoDaemonWithin(Duration wait, const std::string& failures) {
  return {Reason::kUnreachable,
          "no daemon answered within " + InWords(wait) + " (" + failures + ")"};
}

}  // namespace redlock::client
