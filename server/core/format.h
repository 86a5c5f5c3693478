// Durations and bytes as numbers and text.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "server/core/types.h"

namespace redlock {

// In whole milliseconds; a fraction is dropped.
[[nodiscard]] constexpr std::int64_t Millis(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

// For messages to people: "30 s" or "1500 ms".
[[nodiscard]] inline std::string InWords(Duration duration) {
  const std::int64_t ms = Millis(duration);
  return ms % 1000 == 0 && ms != 0 ? std::to_string(ms / 1000) + " s" : std::to_string(ms) + " ms";
}

// The text of a value of errno.
[[nodiscard]] inline std::string ErrorText(int error) {
  return std::generic_category().message(error);
}

// Two lower-case digits for each byte.
[[nodiscard]] inline std::string Hexadecimal(std::span<const unsigned char> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text(2 * bytes.size(), '\0');
  auto digit = text.begin();
  for (const unsigned char byte : bytes) {
    *digit++ = kDigits[byte >> 4U];
    *digit++ = kDigits[byte & 15U];
  }
  return text;
}

// In quotation marks, with control characters escaped: for messages, and as a TOML string.
[[nodiscard]] inline std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      quoted += "\\u00" + Hexadecimal({&byte, 1});
      continue;
    }
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

}  // namespace redlock
