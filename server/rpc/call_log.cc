#include "server/rpc/call_log.h"

#include <spdlog/spdlog.h>

#include <optional>

#include "server/observe/throttle.h"

namespace redlock::rpc {
namespace {

constexpr const char* kRequestId = "x-request-id";
constexpr const char* kTraceparent = "traceparent";

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

// Returns " (17 more not shown)" or "", or nullopt if this line is not shown either.
std::optional<std::string> Admit(observe::Throttle& throttle) {
  const auto held_back = throttle.Admit(observe::Throttle::Clock::now());
  if (!held_back) return std::nullopt;
  return *held_back == 0 ? "" : " (" + std::to_string(*held_back) + " more not shown)";
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

void CallLog::Ended(grpc::ServerContextBase& context, std::string_view method,
                    std::string_view subject, const grpc::Status& status) const {
  const auto level = LevelOf(status);
  if (status.ok() && !spdlog::should_log(level)) return;
  const observe::RequestTag tag = TagOf(context);
  if (!status.ok()) context.AddTrailingMetadata(kRequestId, tag.request_id);
  if (!spdlog::should_log(level)) return;
  std::string more;
  if (level >= spdlog::level::warn) {
    static observe::Throttle throttle(10, 20);
    auto admitted = Admit(throttle);
    if (!admitted) return;
    more = std::move(*admitted);
  }
  const observe::TaggedLines tagged(tag);
  const std::chrono::duration<double, std::milli> took =
      std::chrono::steady_clock::now() - started_;
  spdlog::log(level, "{}{}{}{}: {} after {:.1f} ms, for {}{}", method, subject.empty() ? "" : " \"",
              subject, subject.empty() ? "" : "\"", status.ok() ? "OK" : status.error_message(),
              took.count(), context.peer(), more);
}

void CallLog::Lost(const grpc::ServerContextBase& context, std::string_view key,
                   std::string_view message) const {
  static observe::Throttle throttle(10, 20);
  const auto more = Admit(throttle);
  if (!more) return;
  const observe::RequestTag tag = TagOf(context);
  const observe::TaggedLines tagged(tag);
  spdlog::warn("lease of \"{}\" lost: {}{}", key, message, *more);
}

}  // namespace redlock::rpc
