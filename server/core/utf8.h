// UTF-8: texts from callers and nodes may contain any bytes.
#pragma once

#include <cstddef>
#include <string_view>

namespace redlock {

// The length of the sequence at the start of the text, or 0 if it is malformed or the text is empty
// (https://www.unicode.org/versions/latest/core-spec/chapter-3/#G27506, table 3-7).
[[nodiscard]] constexpr std::size_t SequenceLength(std::string_view text) {
  const auto byte = [text](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : static_cast<unsigned char>(0);
  };
  const auto follows = [&byte](std::size_t i, unsigned char low = 0x80, unsigned char high = 0xbf) {
    return byte(i) >= low && byte(i) <= high;
  };
  if (text.empty()) return 0;
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  if (first < 0xe0) return follows(1) ? 2 : 0;
  if (first < 0xf0) {
    const bool second = follows(1, first == 0xe0 ? 0xa0 : 0x80, first == 0xed ? 0x9f : 0xbf);
    return second && follows(2) ? 3 : 0;
  }
  const bool second = follows(1, first == 0xf0 ? 0x90 : 0x80, first == 0xf4 ? 0x8f : 0xbf);
  return second && follows(2) && follows(3) ? 4 : 0;
}

// The longest beginning of the text that is UTF-8 and has at most `most` bytes.
[[nodiscard]] constexpr std::string_view Utf8Prefix(std::string_view text, std::size_t most) {
  std::size_t end = 0;
  while (const std::size_t length = SequenceLength(text.substr(end))) {
    if (end + length > most) break;
    end += length;
  }
  return text.substr(0, end);
}

[[nodiscard]] constexpr bool IsUtf8(std::string_view text) {
  return Utf8Prefix(text, text.size()).size() == text.size();
}

}  // namespace redlock
