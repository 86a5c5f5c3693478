#include "server/rpc/status.h"

#include "proto/google/rpc/error_details.pb.h"
#include "proto/google/rpc/status.pb.h"

namespace redlock::rpc {
namespace {

// The retry delay if the core gives none: time for the daemon or the nodes to come back.
constexpr Duration kRetrySoon = std::chrono::milliseconds(200);

grpc::StatusCode CodeOf(Reason reason) {
  switch (reason) {
    case Reason::kLockAlreadyHeld:
    case Reason::kMaxRetriesExceeded:
    case Reason::kValidityExpired:
      return grpc::StatusCode::ABORTED;
    case Reason::kLockNotHeld:
      return grpc::StatusCode::FAILED_PRECONDITION;
    case Reason::kQuorumUnavailable:
    case Reason::kNodeSetMismatch:
    case Reason::kDraining:
      return grpc::StatusCode::UNAVAILABLE;
    case Reason::kOverloaded:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case Reason::kDeadlineExceeded:
      return grpc::StatusCode::DEADLINE_EXCEEDED;
    case Reason::kCancelled:
      return grpc::StatusCode::CANCELLED;
  }
  return grpc::StatusCode::INTERNAL;
}

Duration RetryAfter(const Error& error) {
  switch (error.reason) {
    case Reason::kLockAlreadyHeld:
    case Reason::kMaxRetriesExceeded:
    case Reason::kValidityExpired:
    case Reason::kQuorumUnavailable:
    case Reason::kNodeSetMismatch:
    case Reason::kDraining:
    case Reason::kOverloaded:
      return error.retry_after > Duration::zero() ? error.retry_after : kRetrySoon;
    case Reason::kLockNotHeld:
    case Reason::kDeadlineExceeded:
    case Reason::kCancelled:
      return {};
  }
  return {};
}

void AddErrorInfo(google::rpc::Status& status, std::string_view reason) {
  google::rpc::ErrorInfo info;
  info.set_domain("redlock.v1");
  info.set_reason(std::string(reason));
  status.add_details()->PackFrom(info);
}

// Summarizes the votes for operators: "a:6379 error: not connected; b:6379 timeout".
std::string Describe(const Votes& votes, const NodeNames& names) {
  std::string text;
  for (const Vote& vote : votes) {
    text +=
        (text.empty() ? "" : "; ") + names[vote.node] + " " + std::string(ToString(vote.outcome));
    if (!vote.message.empty()) text += ": " + vote.message;
  }
  return text;
}

grpc::Status Finish(google::rpc::Status status, grpc::StatusCode code, const std::string& message) {
  status.set_code(static_cast<int>(code));
  status.set_message(message);
  return {code, message, status.SerializeAsString()};
}

std::string Message(const Error& error, const Votes& votes, const NodeNames& names) {
  std::string message = std::string(ToString(error.reason)) + ": " + error.message;
  if (!votes.empty()) message += " (" + Describe(votes, names) + ")";
  return message;
}

std::string Message(const Violations& violations) {
  std::string message = "INVALID_ARGUMENT: ";
  for (const Violation& violation : violations) {
    if (&violation != &violations.front()) message += "; ";
    message += violation.field + ": " + violation.description;
  }
  return message;
}

}  // namespace

grpc::Status ToStatus(const Error& error, const Votes& votes, const NodeNames& names) {
  google::rpc::Status status;
  AddErrorInfo(status, ToString(error.reason));
  if (!votes.empty()) {
    v1::Votes detail;
    Fill(*detail.mutable_votes(), votes, names);
    status.add_details()->PackFrom(detail);
  }
  if (const Duration delay = RetryAfter(error); delay > Duration::zero()) {
    google::rpc::RetryInfo retry;
    Fill(*retry.mutable_retry_delay(), delay);
    status.add_details()->PackFrom(retry);
  }
  return Finish(std::move(status), CodeOf(error.reason), Message(error, votes, names));
}

namespace {

struct RefusalText {
  grpc::StatusCode code;
  const char* reason;
  const char* message;
};

RefusalText TextOf(Refusal refusal) {
  switch (refusal) {
    case Refusal::kUnauthenticated:
      return {grpc::StatusCode::UNAUTHENTICATED, "UNAUTHENTICATED",
              "UNAUTHENTICATED: a valid bearer token or client certificate is required"};
    case Refusal::kPermissionDenied:
      return {grpc::StatusCode::PERMISSION_DENIED, "PERMISSION_DENIED",
              "PERMISSION_DENIED: the access list does not allow this for the caller"};
  }
  return {grpc::StatusCode::INTERNAL, "", ""};
}

}  // namespace

grpc::Status ToStatus(Refusal refusal) {
  const RefusalText text = TextOf(refusal);
  google::rpc::Status status;
  AddErrorInfo(status, text.reason);
  return Finish(std::move(status), text.code, text.message);
}

void Fill(v1::OperationStatus& out, Refusal refusal) {
  const RefusalText text = TextOf(refusal);
  out.set_code(static_cast<int>(text.code));
  out.set_reason(text.reason);
  out.set_message(text.message);
}

void Fill(v1::OperationStatus& out, const Error& error, const Votes& votes,
          const NodeNames& names) {
  out.set_code(static_cast<int>(CodeOf(error.reason)));
  out.set_reason(std::string(ToString(error.reason)));
  out.set_message(Message(error, votes, names));
  if (const Duration delay = RetryAfter(error); delay > Duration::zero()) {
    Fill(*out.mutable_retry_delay(), delay);
  }
}

void Fill(v1::OperationStatus& out, const Violations& violations) {
  out.set_code(static_cast<int>(grpc::StatusCode::INVALID_ARGUMENT));
  out.set_reason("INVALID_ARGUMENT");
  out.set_message(Message(violations));
}

grpc::Status ToStatus(const Violations& violations) {
  google::rpc::Status status;
  AddErrorInfo(status, "INVALID_ARGUMENT");
  google::rpc::BadRequest bad_request;
  for (const Violation& violation : violations) {
    auto& added = *bad_request.add_field_violations();
    added.set_field(violation.field);
    added.set_description(violation.description);
  }
  status.add_details()->PackFrom(bad_request);
  return Finish(std::move(status), grpc::StatusCode::INVALID_ARGUMENT, Message(violations));
}

}  // namespace redlock::rpc
