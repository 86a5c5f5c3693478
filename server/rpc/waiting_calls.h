// The unary calls of one shard that wait for their operations, so that they can be ended if their
// callers lose their access. Only calls whose callers presented credentials are listed.
#pragma once

#include <list>
#include <memory>
#include <utility>
#include <vector>

#include "server/runtime/shard_thread.h"

namespace redlock::rpc {

class WaitingCall {
 public:
  virtual ~WaitingCall() = default;
  // Ends the call if its caller may no longer make it. On the shard's strand.
  virtual void Recheck() = 0;
};

// Does not own the calls, which are removed before they end. Strand-confined.
class WaitingCalls {
 public:
  using Place = std::list<std::weak_ptr<WaitingCall>>::iterator;

  [[nodiscard]] Place Add(std::weak_ptr<WaitingCall> call) {
    return calls_.insert(calls_.end(), std::move(call));
  }
  void Remove(Place place) { calls_.erase(place); }

  // Rechecks all calls, in portions, because other work waits for the strand.
  void Recheck(runtime::ShardThread& thread) {
    RecheckPortion(thread, std::make_shared<Unchecked>(calls_.begin(), calls_.end()));
  }

 private:
  using Unchecked = std::vector<std::weak_ptr<WaitingCall>>;
  static constexpr int kPortion = 64;

  static void RecheckPortion(runtime::ShardThread& thread, std::shared_ptr<Unchecked> unchecked) {
    for (int i = 0; i < kPortion && !unchecked->empty(); ++i) {
      const auto call = unchecked->back().lock();
      unchecked->pop_back();
      if (call) call->Recheck();
    }
    if (unchecked->empty()) return;
    thread.loop().Post([&thread, unchecked = std::move(unchecked)]() mutable {
      RecheckPortion(thread, std::move(unchecked));
    });
  }

  std::list<std::weak_ptr<WaitingCall>> calls_;
};

}  // namespace redlock::rpc
