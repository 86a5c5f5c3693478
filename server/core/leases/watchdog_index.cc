#include "server/core/leases/watchdog_index.h"

#include <algorithm>

#include "server/core/check.h"
#include "server/core/leases/watchdog.h"

namespace redlock {

std::size_t WatchdogIndex::Hash::operator()(const Watchdog* watchdog) const noexcept {
  return HashText()(watchdog->token());
}

bool WatchdogIndex::HasEqualToken::operator()(const Watchdog* watchdog,
                                              const OwnerToken& token) const {
  return watchdog->token() == token;
}

bool WatchdogIndex::HasEqualToken::operator()(const OwnerToken& token,
                                              const Watchdog* watchdog) const {
  return watchdog->token() == token;
}

bool WatchdogIndex::HasEqualToken::operator()(const Watchdog* one, const Watchdog* other) const {
  return one->token() == other->token();
}

void WatchdogIndex::Add(Watchdog& watchdog) { watchdogs_.insert(&watchdog); }

void WatchdogIndex::Remove(Watchdog& watchdog) {
  const auto [begin, end] = watchdogs_.equal_range(&watchdog);
  const auto found = std::find(begin, end, &watchdog);
  REDLOCK_CHECK(found != end);
  watchdogs_.erase(found);
}

std::vector<std::shared_ptr<Watchdog>> WatchdogIndex::FindIf(const OwnerToken& token,
                                                             auto matches) const {
  std::vector<std::shared_ptr<Watchdog>> found;
  const auto [begin, end] = watchdogs_.equal_range(token);
  for (auto one = begin; one != end; ++one) {
    if (matches((*one)->key())) found.push_back((*one)->shared_from_this());
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
