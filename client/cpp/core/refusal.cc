#include "client/cpp/core/refusal.h"

#include <utility>

#include "client/cpp/core/keys.h"

namespace redlock::client {
namespace {

// `held by "builder 7" for 12.345 s`, as far as it is known; empty: nothing is.
std::string Held(const Error& error) {
  if (error.holder.empty() && !error.held_for) return {};
  std::string text = "held";
  if (!error.holder.empty()) text += " by \"" + error.holder + "\"";
  if (error.held_for) text += " for " + InSeconds(*error.held_for);
  return text;
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
  const std::string held = InWords(key) + ": " + Held(error);
  if (error.reason == Reason::kLockAlreadyHeld) error.message = held;
  if (error.reason == Reason::kMaxRetriesExceeded) {
    error.message = held + "; the retries are used up";
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
  if (answer == nullptr || !answer->error) return error;
  error.holder = answer->error->holder;
  error.held_for = answer->error->held_for;
  const std::string held = Held(error);
  if (!held.empty()) error.message = InWords(key) + ": " + held + "; " + over;
  return error;
}

Error NoDaemonWithin(Duration wait, const std::string& failures) {
  return {Reason::kUnreachable,
          "no daemon answered within " + InWords(wait) + " (" + failures + ")"};
}

}  // namespace redlock::client
