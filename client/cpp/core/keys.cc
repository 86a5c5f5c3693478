#include "client/cpp/core/keys.h"

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace redlock::client {
namespace {

// None of these occurs in UTF-8.
constexpr char kSeparator = '\xff';
constexpr char kShared = '\xfe';     // comes first
constexpr char kSemaphore = '\xfc';  // comes first, then the limit and the slot
constexpr std::size_t kSemaphoreMark = 3;
// Replaces the others in a name, which is refused then.
constexpr char kNoSeparator = '\xfd';

std::size_t MarkOf(const std::string& key) {
  return IsShared(key) ? 1 : IsSemaphore(key) ? kSemaphoreMark : 0;
}

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
    std::replace(key.begin(), key.end(), kSemaphore, kNoSeparator);
  }
  std::sort(keys.begin(), keys.end());
  return Joined(keys, {&kSeparator, 1});
}

std::string shared(const std::string& key) { return IsShared(key) ? key : kShared + key; }

bool IsShared(const std::string& key) { return key.starts_with(kShared); }

std::string semaphore(const std::string& key, int max_holders, int slot) {
  const bool valid = max_holders >= 2 && max_holders <= kMostSlots;
  const int limit = valid ? max_holders : kOutOfRange;
  if (slot < 0 || slot > limit) slot = kOutOfRange;
  return std::string{kSemaphore, static_cast<char>(limit), static_cast<char>(slot)} + key;
}

bool IsSemaphore(const std::string& key) {
  return key.size() >= kSemaphoreMark && key.front() == kSemaphore;
}

int LimitOf(const std::string& key) { return IsSemaphore(key) ? key[1] : 0; }

int SlotOf(const std::string& key) { return IsSemaphore(key) ? key[2] : 0; }

std::string WithSlot(const std::string& key, int slot) {
  if (!IsSemaphore(key)) return key;
  return semaphore(key.substr(kSemaphoreMark), LimitOf(key), slot);
}

std::string AnySlot(const std::string& key) { return WithSlot(key, 0); }

std::vector<std::string> NamesOf(const std::string& key) {
  std::vector<std::string> names;
  std::size_t begin = MarkOf(key);
  for (std::size_t end = 0; end != std::string::npos; begin = end + 1) {
    end = key.find(kSeparator, begin);
    names.push_back(key.substr(begin, end - begin));
  }
  return names;
}

std::string InWords(const std::string& key) { return Joined(NamesOf(key), ", "); }

}  // namespace redlock::client
