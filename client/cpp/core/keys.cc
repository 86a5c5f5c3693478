#include "client/cpp/core/keys.h"

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace redlock::client {
namespace {

// None of these occurs in UTF-8.
constexpr char kSeparator = '\xff';
constexpr char kShared = '\xfe';  // comes first
// Replaces the others in a name, which is refused then.
constexpr char kNoSeparator = '\xfd';

std::string Joined(const std::vector<std::string>& names, std::string_view separator) {
  std::string joined;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) joined += separator;
    joined += names[i];
  }
  return joined;
}

}  // namespace

std::string together(std::vector<std::string> keys) {
  for (std::string& key : keys) {
    std::replace(key.begin(), key.end(), kSeparator, kNoSeparator);
    std::replace(key.begin(), key.end(), kShared, kNoSeparator);
  }
  std::sort(keys.begin(), keys.end());
  return Joined(keys, {&kSeparator, 1});
}

std::string shared(const std::string& key) { return IsShared(key) ? key : kShared + key; }

bool IsShared(const std::string& key) { return key.starts_with(kShared); }

std::vector<std::string> NamesOf(const std::string& key) {
  std::vector<std::string> names;
  std::size_t begin = IsShared(key) ? 1 : 0;
  for (std::size_t end = 0; end != std::string::npos; begin = end + 1) {
    end = key.find(kSeparator, begin);
    names.push_back(key.substr(begin, end - begin));
  }
  return names;
}

std::string InWords(const std::string& key) { return Joined(NamesOf(key), ", "); }

}  // namespace redlock::client
