#include "server/rpc/status.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <set>
#include <span>
#include <utility>

#include "proto/google/rpc/error_details.pb.h"
#include "proto/google/rpc/status.pb.h"
#include "server/core/format.h"
#include "server/observe/origin.h"
#include "server/rpc/caller.h"

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
    case Reason::kKindMismatch:
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
    case Reason::kPermissionDenied:
      return grpc::StatusCode::PERMISSION_DENIED;
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
    case Reason::kPermissionDenied:
    case Reason::kKindMismatch:
      return {};
  }
  return {};
}

// With three decimals: "12.345".
std::string Seconds(Duration duration) {
  return fmt::format("{}.{:03}", Millis(duration) / 1000, Millis(duration) % 1000);
}

using Metadata = google::protobuf::Map<std::string, std::string>;

// The metadata at the top of lock_service.proto.
void FillMetadata(Metadata& out, const Error& error) {
  const auto put = [&out](const char* name, std::string_view value) {
    if (!value.empty()) out[name] = std::string(value);
  };
  put("owner", error.owner.label.value());
  const observe::OriginParts origin = observe::Decode(error.owner.origin);
  put("identity", origin.identity);
  put("peer", origin.peer);
  put("daemon", origin.daemon);
  if (const auto held_for = observe::HeldFor(error.owner)) out["held_for"] = Seconds(*held_for);
  if (error.holders > 0) out["holders"] = std::to_string(error.holders);
  if (!error.in_use_as.empty()) out["in_use_as"] = error.in_use_as;
  if (error.last_reason) out["last_reason"] = ToString(*error.last_reason);
}

void AddErrorInfo(google::rpc::Status& status, std::string_view reason, Metadata metadata = {}) {
  google::rpc::ErrorInfo info;
  info.set_domain("redlock.v1");
  info.set_reason(std::string(reason));
  *info.mutable_metadata() = std::move(metadata);
  status.add_details()->PackFrom(info);
}

// Trailers carry the message twice and the details once. Many clients accept 8 KiB of them.
constexpr std::size_t kMostVoteTexts = 1'000;  // bytes, of all votes
constexpr std::size_t kMostViolations = 10;

// Each text is given with the first of the votes that have it, as far as the texts fit.
void KeepTextsShort(v1::Votes& votes) {
  std::set<std::string> known;
  std::size_t bytes = 0;
  for (v1::Vote& vote : *votes.mutable_votes()) {
    if (vote.message().empty()) continue;
    const bool fits = bytes + vote.message().size() <= kMostVoteTexts;
    if (fits && known.insert(vote.message()).second) {
      bytes += vote.message().size();
    } else {
      vote.clear_message();
    }
  }
}

grpc::Status Finish(google::rpc::Status status, grpc::StatusCode code, const std::string& message) {
  status.set_code(static_cast<int>(code));
  status.set_message(message);
  return {code, message, status.SerializeAsString()};
}

// Describes the holder apart from its label: ", billing at ipv4:10.0.0.1:4711, for 3.200 s".
std::string WhoHolds(const Owner& owner) {
  std::string text;
  if (const observe::OriginParts origin = observe::Decode(owner.origin); !origin.peer.empty()) {
    text += ", " + NameOfCaller(origin.identity, origin.peer);
  }
  if (const auto held_for = observe::HeldFor(owner)) text += ", for " + Seconds(*held_for) + " s";
  return text;
}

std::string Message(const Error& error, const Votes& votes, const NodeNames& names) {
  std::string message =
      std::string(ToString(error.reason)) + ": " + error.message + WhoHolds(error.owner);
  if (!votes.empty()) message += " (" + Describe(votes, names) + ")";
  return message;
}

std::string Message(const Violations& violations) {
  std::string message = "INVALID_ARGUMENT: ";
  for (std::size_t i = 0; i < violations.size() && i < kMostViolations; ++i) {
    if (i > 0) message += "; ";
    message += violations[i].field + ": " + violations[i].description;
  }
  if (violations.size() > kMostViolations) {
    message += "; and " + std::to_string(violations.size() - kMostViolations) + " more";
  }
  return message;
}

}  // namespace

std::string Describe(const Votes& votes, const NodeNames& names) {
  std::vector<std::pair<std::string, std::string>> said;  // the nodes, and what they said
  for (const Vote& vote : votes) {
    std::string text(ToString(vote.outcome));
    if (!vote.message.empty()) text += ": " + Excerpt(vote.message);
    const auto same = std::find_if(said.begin(), said.end(), [&](const auto& earlier) {
      return !vote.message.empty() && earlier.second == text;
    });
    if (same == said.end()) {
      said.emplace_back(names[vote.node], std::move(text));
    } else {
      same->first += ", " + names[vote.node];
    }
  }
  std::string all;
  for (const auto& [nodes, text] : said) {
    if (all.size() + nodes.size() + text.size() > kMostVoteTexts) return all + "; and more";
    if (!all.empty()) all += "; ";
    all.append(nodes).append(" ").append(text);
  }
  return all;
}

grpc::Status ToStatus(const Error& error, const Votes& votes, const NodeNames& names) {
  google::rpc::Status status;
  Metadata metadata;
  FillMetadata(metadata, error);
  AddErrorInfo(status, ToString(error.reason), std::move(metadata));
  if (!votes.empty()) {
    v1::Votes detail;
    Fill(*detail.mutable_votes(), votes, names);
    KeepTextsShort(detail);
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
    case Refusal::kTokenRevoked:
      return {grpc::StatusCode::UNAUTHENTICATED, "UNAUTHENTICATED",
              "UNAUTHENTICATED: the caller's bearer token was revoked"};
    case Refusal::kPermissionDenied:
      return {grpc::StatusCode::PERMISSION_DENIED, "PERMISSION_DENIED",
              "PERMISSION_DENIED: the access list does not allow this for the caller"};
    case Refusal::kTooMuchMetadata:
      return {grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT",
              "INVALID_ARGUMENT: the metadata of the call must have at most 16 KiB"};
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
  FillMetadata(*out.mutable_metadata(), error);
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
  for (const Violation& violation :
       std::span(violations).first(std::min(violations.size(), kMostViolations))) {
    auto& added = *bad_request.add_field_violations();
    added.set_field(violation.field);
    added.set_description(violation.description);
  }
  status.add_details()->PackFrom(bad_request);
  return Finish(std::move(status), grpc::StatusCode::INVALID_ARGUMENT, Message(violations));
}

}  // namespace redlock::rpc
