// Patterns for keys and identities.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace redlock {

// Whether `text` matches `pattern`, in which `*` stands for any number of characters. No other
// character is special.
[[nodiscard]] inline bool Matches(std::string_view pattern, std::string_view text) {
  // On a mismatch, backtracks to the last star only. An earlier star need not match more than it
  // did.
  std::size_t p = 0, t = 0;
  std::optional<std::size_t> star;
  std::size_t star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star) {
      p = *star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

}  // namespace redlock
