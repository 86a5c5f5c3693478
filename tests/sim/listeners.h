// Listeners that call functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "server/core/leases/hold.h"

namespace redlock::sim {

class CallingListener final : public HoldListener {
 public:
  using Decided = std::function<void(const AcquireResult&)>;
  using Watched = std::function<void(const WatchEvent&)>;
  CallingListener(Decided decided, Watched watched)
      : decided_(std::move(decided)), watched_(std::move(watched)) {}
  void OnDecided(std::uint64_t /*id*/, const AcquireResult& result) override { decided_(result); }
  void OnQueued(std::uint64_t /*id*/, std::size_t /*position*/) override {}
  void OnWatchEvent(const WatchEvent& event) override { watched_(event); }

 private:
  const Decided decided_;
  const Watched watched_;
};

// Of a hold.
inline std::shared_ptr<HoldListener> ListenerOf(CallingListener::Decided decided,
                                                CallingListener::Watched watched) {
  return std::make_shared<CallingListener>(std::move(decided), std::move(watched));
}
// Of a lease that is held already.
inline std::shared_ptr<WatchListener> ListenerOf(CallingListener::Watched watched) {
  return ListenerOf(nullptr, std::move(watched));
}

}  // namespace redlock::sim
