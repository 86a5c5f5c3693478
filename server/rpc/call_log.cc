#include "server/rpc/call_log.h"

#include <spdlog/spdlog.h>

#include "server/observe/access_refusals.h"
#include "server/observe/throttle.h"
#include "server/rpc/caller.h"
#include "server/rpc/status.h"

namespace redlock::rpc {
namespace {

constexpr const char* kRequestId = "x-request-id";
constexpr const char* kTraceparent = "traceparent";
constexpr const char* kAuthorization = "authorization";

spdlog::level::level_enum LevelOf(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      // Every caller gets DRAINING while the daemon drains.
      return status.error_message().starts_with("DRAINING") ? spdlog::level::debug
                                                            : spdlog::level::warn;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
      return spdlog::level::warn;
    default:
      return spdlog::level::debug;
  }
}

std::string_view Find(const grpc::ServerContextBase& context, const char* name) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(name);
  if (found == metadata.end()) return {};
  return {found->second.data(), found->second.size()};
}

void CountIfRefused(const grpc::ServerContextBase& context, const grpc::Status& status) {
  using observe::AccessRefusal;
  if (status.error_code() == grpc::StatusCode::PERMISSION_DENIED) {
    Count(AccessRefusal::kPermissionDenied);
  } else if (status.error_code() == grpc::StatusCode::UNAUTHENTICATED) {
    const bool revoked = status.error_message() == ToStatus(Refusal::kTokenRevoked).error_message();
    Count(revoked                                 ? AccessRefusal::kTokenRevoked
          : Find(context, kAuthorization).empty() ? AccessRefusal::kNoCredentials
                                                  : AccessRefusal::kInvalidCredentials);
  }
}

// The group of a failure's lines for the throttle.
std::string KindOf(grpc::StatusCode code) { return "call " + std::to_string(code); }

// The source of a caller's lines for the throttle: the identity, or else the address without the
// port, because a caller may open connections at will.
std::string SourceOf(const std::string& identity, const std::string& peer) {
  return identity.empty() ? peer.substr(0, peer.rfind(':')) : identity;
}

// The finalizer of SplitMix64.
std::uint64_t Mix(std::uint64_t x) {
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31U);
}

}  // namespace

// A generated id must be the same each time, so it is derived from the address of this object and
// the time at which the call began.
observe::RequestTag CallLog::TagOf(const grpc::ServerContextBase& context) const {
  observe::RequestTag tag;
  if (const auto given = Find(context, kRequestId); observe::IsRequestId(given)) {
    tag.request_id = given;
  } else {
    const auto when = static_cast<std::uint64_t>(started_.time_since_epoch().count());
    const auto where = reinterpret_cast<std::uintptr_t>(this);
    tag.request_id = fmt::format("{:016x}", Mix(when ^ Mix(where)));
  }
  tag.trace = observe::ParseTraceparent(Find(context, kTraceparent));
  return tag;
}

void CallLog::Warn(const grpc::ServerContextBase& context, std::string_view kind,
                   std::string text) const {
  observe::LogThrottled(spdlog::level::warn, kind, SourceOf(identity_, context.peer()),
                        std::move(text), TagOf(context));
}

void CallLog::Ended(grpc::ServerContextBase& context, std::string_view method, const Key& subject,
                    const grpc::Status& status) const {
  const auto level = LevelOf(status);
  CountIfRefused(context, status);
  if (status.ok() && !spdlog::should_log(level)) return;
  const observe::RequestTag tag = TagOf(context);
  if (!status.ok()) context.AddTrailingMetadata(kRequestId, tag.request_id);
  if (!spdlog::should_log(level)) return;
  const std::chrono::duration<double, std::milli> took =
      std::chrono::steady_clock::now() - started_;
  std::string text = fmt::format(
      "{}{}{}{}: {} after {:.1f} ms, for {}", method, subject.empty() ? "" : " \"",
      subject.InWords(), subject.empty() ? "" : "\"", status.ok() ? "OK" : status.error_message(),
      took.count(), NameOfCaller(identity_, context.peer()));
  if (level >= spdlog::level::warn) {
    Warn(context, KindOf(status.error_code()), std::move(text));
    return;
  }
  const observe::TaggedLines tagged(tag);
  spdlog::log(level, "{}", text);
}

void CallLog::Denied(const grpc::ServerContextBase& context, std::string_view operation,
                     const Key& key) const {
  Count(observe::AccessRefusal::kPermissionDenied);
  if (!spdlog::should_log(spdlog::level::warn)) return;
  Warn(context, KindOf(grpc::StatusCode::PERMISSION_DENIED),
       fmt::format("Session {} \"{}\": {}, for {}", operation, key.InWords(),
                   ToStatus(Refusal::kPermissionDenied).error_message(),
                   NameOfCaller(identity_, context.peer())));
}

void CallLog::Lost(const grpc::ServerContextBase& context, const Key& key,
                   std::string_view message) const {
  if (!spdlog::should_log(spdlog::level::warn)) return;
  Warn(context, "lost",
       fmt::format("lease of \"{}\" lost: {}, for {}", key.InWords(), message,
                   NameOfCaller(identity_, context.peer())));
}

}  // namespace redlock::rpc
