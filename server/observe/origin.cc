#include "server/observe/origin.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <string_view>
#include <system_error>
#include <utility>

#include "server/core/format.h"
#include "server/core/utf8.h"

namespace redlock::observe {
namespace {

constexpr std::size_t kMostOfPart = 104;
static_assert(3 * kMostOfPart + 2 <= kMaxOriginBytes);
constexpr std::string_view kNoWord = "-";

bool IsPlain(char c) { return c > ' ' && c < '\x7f' && c != '%'; }

void Append(std::string& words, std::string_view part) {
  if (part.empty()) {
    words += kNoWord;
    return;
  }
  const std::size_t end = words.size() + kMostOfPart;
  for (const char c : part) {
    if (words.size() + (IsPlain(c) ? 1 : 3) > end) return;
    if (IsPlain(c)) {
      words += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    words += '%' + Hexadecimal({&byte, 1});
  }
}

std::string Decoded(std::string_view word) {
  if (word == kNoWord) return {};
  std::string part;
  while (!word.empty()) {
    unsigned int byte = 0;
    const bool coded =
        word[0] == '%' && word.size() > 2 &&
        std::from_chars(word.data() + 1, word.data() + 3, byte, 16).ptr == word.data() + 3;
    part += coded ? static_cast<char>(byte) : word[0];
    word.remove_prefix(coded ? 3 : 1);
  }
  return std::string(Utf8Prefix(part, part.size()));
}

std::string NextPart(std::string_view& words) {
  const std::size_t space = std::min(words.find(' '), words.size());
  std::string part = Decoded(words.substr(0, space));
  words.remove_prefix(std::min(space + 1, words.size()));
  return part;
}

}  // namespace

Origin Encode(const OriginParts& parts) {
  std::string words;
  words.reserve(parts.daemon.size() + parts.identity.size() + parts.peer.size() + 3);
  Append(words, parts.daemon);
  words += ' ';
  Append(words, parts.identity);
  words += ' ';
  Append(words, parts.peer);
  return Origin(words);
}

OriginParts Decode(const Origin& origin) {
  std::string_view words = origin.value();
  OriginParts parts;
  parts.daemon = NextPart(words);
  parts.identity = NextPart(words);
  parts.peer = NextPart(words);
  return parts;
}

std::optional<Duration> HeldFor(const Owner& owner) {
  return redlock::HeldFor(owner, std::chrono::system_clock::now());
}

}  // namespace redlock::observe
