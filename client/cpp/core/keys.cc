#include "client/cpp/core/keys.h"

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace redlock::client {
namespace {

constexpr char kSeparator = '\xff';  // occurs in no UTF-8
// Replaces the separator in a name, which is refused then: this occurs in no UTF-8 either.
constexpr char kNoSeparator = '\xfe';

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
  for (std::string& key : keys) std::replace(key.begin(), key.end(), kSeparator, kNoSeparator);
  std::sort(keys.begin(), keys.end());
  return Joined(keys, {&kSeparator, 1});
}

std::vector<std::string> NamesOf(const std::string& key) {
  std::vector<std::string> names;
  std::size_t begin = 0;
  for (std::size_t end = 0; end != std::string::npos; begin = end + 1) {
    end = key.find(kSeparator, begin);
    names.push_back(key.substr(begin, end - begin));
  }
  return names;
}

std::string InWords(const std::string& key) { return Joined(NamesOf(key), ", "); }

}  // namespace redlock::client
