#include "server/config/spelling.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace redlock::config {
namespace {

constexpr std::size_t kMaxName = 64;  // longer names resemble nothing

// The number of letters to insert, delete or replace (Levenshtein).
std::size_t Distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::vector<std::string_view> Words(std::string_view name) {
  std::vector<std::string_view> words;
  while (true) {
    const auto dash = name.find('-');
    std::string_view word = name.substr(0, dash);
    if (word.size() > 3 && word.ends_with('s')) word.remove_suffix(1);  // nodes: node
    words.push_back(word);
    if (dash == std::string_view::npos) return words;
    name.remove_prefix(dash + 1);
  }
}

std::size_t SharedWords(std::string_view a, std::string_view b) {
  const auto words = Words(b);
  std::size_t shared = 0;
  for (const std::string_view word : Words(a)) {
    if (!word.empty() && std::find(words.begin(), words.end(), word) != words.end()) ++shared;
  }
  return shared;
}

}  // namespace

std::string NearestOf(std::string_view name, const std::vector<std::string>& candidates) {
  if (name.empty() || name.size() > kMaxName) return {};
  std::string nearest;
  std::size_t least = name.size() / 3 + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = Distance(name, candidate);
    if (distance < least) {
      least = distance;
      nearest = candidate;
    }
  }
  if (!nearest.empty()) return nearest;
  std::size_t most = 0;
  for (const std::string& candidate : candidates) {
    const std::size_t shared = SharedWords(name, candidate);
    if (shared > most) {
      most = shared;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace redlock::config
