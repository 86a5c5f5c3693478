#include "client/cpp/core/validation.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string_view>

namespace redlock::client {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kLongestKey = 512;
constexpr std::size_t kLongestToken = 128;
constexpr std::size_t kLongestOwner = 128;
constexpr std::string_view kReserved = "redlockd:";
constexpr Duration kShortestTtl = milliseconds(10);
constexpr Duration kLongestMargin = milliseconds(500);  // by default
// The daemon extends a lock when about half of its TTL is left. A margin close to that would signal
// a loss before the extension arrives.
constexpr int kMarginFraction = 3;

// The length of a UTF-8 sequence and the smallest code point of that length. 0 bytes: not a valid
// first byte.
struct Utf8Length {
  int bytes;
  char32_t smallest;
};
Utf8Length LengthOf(unsigned char first) {
  if (first < 0x80) return {1, 0};
  if ((first & 0xE0U) == 0xC0) return {2, 0x80};
  if ((first & 0xF0U) == 0xE0) return {3, 0x800};
  if ((first & 0xF8U) == 0xF0) return {4, 0x10000};
  return {0, 0};
}

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const auto first = static_cast<unsigned char>(text.front());
    const auto [bytes, smallest] = LengthOf(first);
    if (bytes == 0 || text.size() < static_cast<std::size_t>(bytes)) return false;
    char32_t point = bytes == 1 ? first : first & (0x7FU >> bytes);
    for (std::size_t i = 1; i < static_cast<std::size_t>(bytes); ++i) {
      const auto next = static_cast<unsigned char>(text[i]);
      if ((next & 0xC0U) != 0x80) return false;
      point = point << 6U | (next & 0x3FU);
    }
    const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
    if (point < smallest || point > 0x10FFFF || surrogate) return false;
    text.remove_prefix(static_cast<std::size_t>(bytes));
  }
  return true;
}

std::string InWords(Duration duration) { return std::to_string(Millis(duration)) + " ms"; }

Error Invalid(const std::string& what) { return {Reason::kInvalidArgument, what}; }

std::optional<Error> CheckText(const std::string& field, const std::string& text,
                               std::size_t longest) {
  if (text.size() > longest) {
    return Invalid(field + ": has " + std::to_string(text.size()) + " bytes; use at most " +
                   std::to_string(longest));
  }
  if (!IsUtf8(text)) return Invalid(field + ": is not valid UTF-8");
  return std::nullopt;
}

}  // namespace

std::optional<Error> CheckTtl(Duration ttl) {
  if (ttl < kShortestTtl) return Invalid("ttl: must be at least 10 ms, not " + InWords(ttl));
  return std::nullopt;
}

std::optional<Error> Check(const AcquireCommand& command, Duration grace) {
  if (command.key.empty()) return Invalid("key: must not be empty");
  if (command.key.starts_with(kReserved)) {
    return Invalid("key: must not begin with \"redlockd:\", which is reserved");
  }
  if (auto error = CheckText("key", command.key, kLongestKey)) return error;
  if (auto error = CheckText("token", command.token, kLongestToken)) return error;
  if (auto error = CheckText("owner", command.owner, kLongestOwner)) return error;
  if (auto error = CheckTtl(command.ttl)) return error;
  const Duration longest = std::min(command.ttl, grace) / kMarginFraction;
  if (command.margin && (*command.margin < Duration{} || *command.margin > longest)) {
    return Invalid("margin: must be from 0 to " + InWords(longest) +
                   " (a third of the TTL or of the client's grace, whichever is less), not " +
                   InWords(*command.margin));
  }
  return std::nullopt;
}

std::optional<Error> CheckEndpoint(const std::string& endpoint) {
  const auto colon = endpoint.rfind(':');
  if (colon == std::string::npos || colon + 1 == endpoint.size()) return std::nullopt;
  const std::string_view host = std::string_view(endpoint).substr(0, colon);
  const std::string_view port = std::string_view(endpoint).substr(colon + 1);
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  if (host == "unix" || (!bracketed && host.find_first_of(":/") != std::string_view::npos) ||
      port.find_first_not_of("0123456789") != std::string_view::npos) {
    return std::nullopt;
  }
  std::uint16_t number = 0;
  if (std::from_chars(port.data(), port.data() + port.size(), number).ec == std::errc() &&
      number > 0) {
    return std::nullopt;
  }
  return Invalid(endpoint + ": the port must be a number from 1 to 65535");
}

Duration MarginOf(const AcquireCommand& command, Duration grace) {
  return command.margin.value_or(std::min({command.ttl / 10, grace / 10, kLongestMargin}));
}

}  // namespace redlock::client
