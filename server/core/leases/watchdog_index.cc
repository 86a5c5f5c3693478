#include "server/core/leases/watchdog_index.h"

#include <algorithm>
#include <functional>
#include <string>

#include "server/core/check.h"
#include "server/core/leases/watchdog.h"

namespace redlock {
namespace {

std::size_t HashOf(const OwnerToken& token) { return HashText()(token); }

}  // namespace

void WatchdogIndex::Add(Watchdog& watchdog) {
  watchdogs_.emplace(HashOf(watchdog.token()), &watchdog);
}

void WatchdogIndex::Remove(Watchdog& watchdog) {
  const auto [begin, end] = watchdogs_.equal_range(HashOf(watchdog.token()));
  const auto found =
      std::find_if(begin, end, [&watchdog](const auto& one) { return one.second == &watchdog; });
  REDLOCK_CHECK(found != end);
  watchdogs_.erase(found);
}

std::vector<std::shared_ptr<Watchdog>> WatchdogIndex::FindIf(const OwnerToken& token,
                                                             auto matches) const {
  std::vector<std::shared_ptr<Watchdog>> found;
  const auto [begin, end] = watchdogs_.equal_range(HashOf(token));
  for (auto one = begin; one != end; ++one) {
    if (matches(one->second->key()) && one->second->token() == token) {
      found.push_back(one->second->shared_from_this());
    }
  }
  return found;
}

std::vector<std::shared_ptr<Watchdog>> WatchdogIndex::Find(const Key& key,
                                                           const OwnerToken& token) const {
  return FindIf(token, [&key](const Key& watched) { return watched.names() == key.names(); });
}

std::vector<std::shared_ptr<Watchdog>> WatchdogIndex::FindAll(const Key& key,
                                                              const OwnerToken& token) const {
  return FindIf(token, [&key](const Key& watched) { return watched.Contains(key); });
}

}  // namespace redlock
