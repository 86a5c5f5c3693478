#include "server/core/keys/intent.h"

#include <chrono>
#include <memory>

namespace redlock {
namespace {

using std::chrono::milliseconds;

// Longer than the head of a queue sleeps.
constexpr Duration kTtl = milliseconds(2000);
constexpr Duration kRenewal = milliseconds(500);

}  // namespace

void Intent::Renew(MonotonicTime now) {
  if (stands_ && now < renew_at_) return;
  stands_ = true;
  renew_at_ = now + kRenewal;
  Send(kTtl);
}

void Intent::Withdraw() {
  if (!stands_) return;
  stands_ = false;
  Send(Duration());
}

void Intent::Send(Duration ttl) {
  const auto sink = std::make_shared<IgnoreReply>();  // without an intent, the head waits longer
  for (Node* const node : nodes_) node->Intend({.key = key_, .id = id_, .ttl = ttl}, sink);
}

}  // namespace redlock
