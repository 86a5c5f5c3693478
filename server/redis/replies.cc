#include "server/redis/replies.h"

#include <charconv>
#include <chrono>
#include <optional>
#include <string>

namespace redlock::redis {
namespace {

std::optional<long long> NumberOf(const redisReply& reply) {
  if (reply.type == REDIS_REPLY_INTEGER) return reply.integer;
  if (reply.type != REDIS_REPLY_STRING) return std::nullopt;
  const std::string_view text = TextOf(reply);
  long long number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

FencingToken FenceOf(const redisReply& reply) {
  if (reply.type != REDIS_REPLY_STRING) return {};
  return {static_cast<std::uint64_t>(std::max(NumberOf(reply).value_or(0), 0LL))};
}

Duration RemainingOf(const redisReply& reply) {
  // PTTL is -1 for a key without expiry, which only a stranger can have written: no advice.
  if (reply.type != REDIS_REPLY_INTEGER || reply.integer <= 0) return {};
  return std::chrono::milliseconds(reply.integer);
}

// A wild number from a broken node must not overflow on its way to nanoseconds.
std::optional<Duration> ClockOf(std::optional<long long> micros) {
  constexpr long long kMost = 8'000'000'000'000'000;  // the year 2223
  if (!micros || *micros < 0 || *micros > kMost) return std::nullopt;
  return std::chrono::microseconds(*micros);
}

// The elements that follow status and fence of a grant. False where some are missing.
bool ParseGrant(Script script, const redisReply& reply, NodeReply& parsed) {
  const auto element = [&reply](std::size_t i) -> const redisReply& { return *reply.element[i]; };
  switch (script) {
    case Script::kExtend:
    case Script::kHeal:
      return true;
    case Script::kAcquire:
      if (reply.elements != 3) return false;
      parsed.clock = ClockOf(NumberOf(element(2)));
      return parsed.clock.has_value();
    case Script::kHandOver:
      if (reply.elements != 4) return false;
      parsed.clock = ClockOf(NumberOf(element(2)));
      parsed.handed_over = NumberOf(element(3)).value_or(0) != 0;
      return parsed.clock.has_value();
    case Script::kRelease:
      if (reply.elements != 3) return false;
      parsed.listeners = static_cast<int>(NumberOf(element(2)).value_or(0));
      return true;
    case Script::kInspect:
      if (reply.elements != 5) return false;
      parsed.remaining = RemainingOf(element(2));
      parsed.holder = OwnerToken(std::string(TextOf(element(3))));
      parsed.owner = OwnerLabel(std::string(TextOf(element(4))));
      return true;
    case Script::kMark:
      if (reply.elements != 3) return false;
      parsed.mark = TextOf(element(1));
      parsed.clock = ClockOf(NumberOf(element(2)));
      return parsed.clock.has_value();
  }
  return false;
}

}  // namespace

NodeReply ParseReply(Script script, const redisReply& reply) {
  NodeReply parsed;
  if (reply.type == REDIS_REPLY_ERROR) {
    parsed.message = TextOf(reply);
    return parsed;
  }
  parsed.message = "unexpected reply";
  if (reply.type != REDIS_REPLY_ARRAY || reply.elements < 2 ||
      reply.element[0]->type != REDIS_REPLY_INTEGER) {
    return parsed;
  }
  const redisReply& second = *reply.element[1];
  switch (static_cast<Status>(reply.element[0]->integer)) {
    case Status::kGranted:
      parsed.fence = FenceOf(second);
      if (!ParseGrant(script, reply, parsed)) return parsed;
      parsed.outcome = Outcome::kGranted;
      break;
    case Status::kHeld:
      parsed.outcome = Outcome::kHeld;
      parsed.remaining = RemainingOf(second);
      break;
    case Status::kNotHeld:
      parsed.outcome = Outcome::kNotHeld;
      parsed.fence = FenceOf(second);
      break;
    case Status::kStaleFence:
      parsed.outcome = Outcome::kStaleFence;
      parsed.fence = FenceOf(second);
      break;
    case Status::kUnmarked:
      parsed.outcome = Outcome::kQuarantined;
      parsed.mark = TextOf(second);
      break;
    default:
      return parsed;
  }
  parsed.message.clear();
  return parsed;
}

std::optional<Duration> ParseTime(const redisReply& reply) {
  if (reply.type != REDIS_REPLY_ARRAY || reply.elements != 2) return std::nullopt;
  constexpr long long kMostSeconds = 8'000'000'000;
  const auto seconds = NumberOf(*reply.element[0]);
  const auto micros = NumberOf(*reply.element[1]);
  if (!seconds || !micros || *seconds < 0 || *seconds > kMostSeconds) return std::nullopt;
  return ClockOf(*seconds * 1'000'000 + *micros % 1'000'000);
}

}  // namespace redlock::redis
