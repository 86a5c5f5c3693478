// What an exclusive acquisition that waits for the end of shares leaves on the nodes, so that new
// shares of the key do not overtake it for ever.
#pragma once

#include <span>

#include "server/core/clock.h"
#include "server/core/nodes/node.h"

namespace redlock {

// Of one key at one daemon. Ends by itself soon after the last Renew(). Strand-confined.
class Intent {
 public:
  // The nodes and the key must outlive it.
  Intent(std::span<Node* const> nodes, const Key& key, AttemptId id)
      : nodes_(nodes), key_(key), id_(id) {}

  void Renew(MonotonicTime now);
  void Withdraw();

 private:
  void Send(Duration ttl);

  const std::span<Node* const> nodes_;
  const Key& key_;
  const AttemptId id_;
  MonotonicTime renew_at_;
  bool stands_ = false;
};

}  // namespace redlock
