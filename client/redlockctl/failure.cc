#include "client/redlockctl/failure.h"

#include <array>
#include <cstdio>
#include <map>

#include "proto/google/rpc/error_details.pb.h"
#include "proto/google/rpc/status.pb.h"

namespace redlockctl {
namespace {

std::optional<redlock::client::Duration> HeldFor(const redlock::v1::InspectResponse& response) {
  if (!response.has_held_for()) return std::nullopt;
  return std::chrono::seconds(response.held_for().seconds()) +
         std::chrono::nanoseconds(response.held_for().nanos());
}

ExitStatus ExitStatusOf(const std::string& reason, grpc::StatusCode code) {
  static const std::map<std::string, ExitStatus> statuses = {
      {"LOCK_ALREADY_HELD", kExitHeld},      {"MAX_RETRIES_EXCEEDED", kExitHeld},
      {"VALIDITY_EXPIRED", kExitHeld},       {"LOCK_NOT_HELD", kExitNotHeld},
      {"QUORUM_UNAVAILABLE", kExitNoQuorum}, {"NODE_SET_MISMATCH", kExitNoQuorum},
      {"DRAINING", kExitUnreachable},        {"INVALID_ARGUMENT", kExitUsage},
      {"UNREACHABLE", kExitUnreachable},     {"DEADLINE_EXCEEDED", kExitHeld},
  };
  const auto found = statuses.find(reason);
  if (found != statuses.end()) return found->second;
  if (code == grpc::StatusCode::DEADLINE_EXCEEDED) return kExitHeld;
  if (code == grpc::StatusCode::INVALID_ARGUMENT) return kExitUsage;
  if (code == grpc::StatusCode::UNAVAILABLE) return kExitUnreachable;
  return kExitFailed;
}

}  // namespace

std::string HeldBy(const std::string& owner,
                   const std::optional<redlock::client::Duration>& held_for) {
  std::string held = "another holder has the lock";
  if (!owner.empty()) held += ": \"" + owner + "\"";
  if (held_for) {
    std::array<char, 32> time{};
    std::snprintf(time.data(), time.size(), ", for %.3f s",
                  std::chrono::duration<double>(*held_for).count());
    held += time.data();
  }
  return held;
}

bool NamesHolder(const redlock::client::Error& error) { return !error.holder.empty(); }

std::string HeldBy(const redlock::v1::InspectResponse& response) {
  const std::string count = std::to_string(response.holders());
  if (response.max_holders() != 0) {
    return count + " of " + std::to_string(response.max_holders()) + " slots are taken";
  }
  if (response.mode() != redlock::v1::LOCK_MODE_SHARED) {
    return HeldBy(response.owner(), HeldFor(response));
  }
  return response.holders() == 1 ? "a holder shares the lock" : count + " holders share the lock";
}

Failure Explain(const grpc::Status& status) {
  Failure failure;
  failure.message = status.error_message();
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::RetryInfo retry;
    if (detail.UnpackTo(&info)) {
      failure.reason = info.reason();
      const auto last_reason = info.metadata().find("last_reason");
      if (last_reason != info.metadata().end()) failure.last_reason = last_reason->second;
    } else if (detail.UnpackTo(&retry)) {
      const auto& delay = retry.retry_delay();
      failure.retry_after =
          std::chrono::milliseconds(delay.seconds() * 1000 + delay.nanos() / 1'000'000);
    } else {
      (void)detail.UnpackTo(&failure.votes);
    }
  }
  failure.exit_status = ExitStatusOf(
      failure.last_reason.empty() ? failure.reason : failure.last_reason, status.error_code());
  if (failure.reason.empty() && status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    failure.reason = "DEADLINE_EXCEEDED";
    failure.message = "the time to wait ran out";
  }
  // redlockctl itself cancels a call, when a signal arrives.
  if (failure.reason.empty() && status.error_code() == grpc::StatusCode::CANCELLED) {
    failure.reason = "CANCELLED";
    failure.message = "interrupted by a signal before the daemon answered";
  }
  return failure;
}

Failure Explain(const redlock::client::Error& error) {
  Failure failure;
  failure.reason = redlock::client::to_string(error.reason);
  failure.message = error.message;
  if (error.reason == redlock::client::Reason::kUnreachable) {
    failure.message = "no redlockd answers: " + error.message;
  } else if (error.reason == redlock::client::Reason::kDeadlineExceeded) {
    failure.message = "the time to wait ran out";
    if (NamesHolder(error)) failure.message += ": " + HeldBy(error.holder, error.held_for);
  } else if (!error.holder.empty()) {
    failure.message = HeldBy(error.holder, error.held_for);
  }
  if (error.retry_after > redlock::client::Duration::zero()) {
    failure.retry_after = std::chrono::duration_cast<std::chrono::milliseconds>(error.retry_after);
  }
  failure.exit_status = ExitStatusOf(failure.reason, grpc::StatusCode::UNKNOWN);
  return failure;
}

}  // namespace redlockctl
