// Formats commands in the Redis protocol, RESP. hiredis' formatter is slower, because it calls
// sprintf for each word.
#pragma once

#include <array>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace redlock::redis {

// Formats a number without an allocation.
class Decimal {
 public:
  explicit Decimal(std::integral auto number, int base = 10) {
    char* const begin = digits_.data();
    size_ = static_cast<std::size_t>(
        std::to_chars(begin, begin + digits_.size(), number, base).ptr - begin);
  }
  // NOLINTNEXTLINE(google-explicit-constructor): implicit by design
  operator std::string_view() const { return {digits_.data(), size_}; }

 private:
  std::array<char, 20> digits_;
  std::size_t size_ = 0;
};

// The line that begins a word or an array.
inline void AppendLength(std::string& out, char kind, std::size_t length) {
  std::array<char, 24> line;
  char* const end = line.data() + line.size();
  line.front() = kind;
  char* last = std::to_chars(line.data() + 1, end, length).ptr;
  *last++ = '\r';
  *last++ = '\n';
  out.append(line.data(), last);
}

// One word of one or more parts.
inline void AppendWord(std::string& out,
                       const std::convertible_to<std::string_view> auto&... parts) {
  AppendLength(out, '$', (std::string_view(parts).size() + ...));
  ((out += std::string_view(parts)), ...);
  out += "\r\n";
}

inline void AppendHeader(std::string& out, std::size_t words) { AppendLength(out, '*', words); }

inline void AppendCommand(std::string& out, std::span<const std::string_view> words) {
  AppendHeader(out, words.size());
  for (const std::string_view word : words) AppendWord(out, word);
}

}  // namespace redlock::redis
