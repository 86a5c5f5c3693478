// The closed loop through the service: the next cycle of a slot begins when the last one has ended.
#include <stdexcept>

#include "tests/bench/load.h"
#include "tests/bench/rpc_calls.h"

namespace redlock::bench {
namespace {

constexpr int kTtlSeconds = 10;

class RpcLoad final : public Load {
 public:
  RpcLoad(std::unique_ptr<RpcCalls> calls, KeyMaker key_of)
      : calls_(std::move(calls)), key_of_(key_of) {}

  LoadResult Run(std::size_t outstanding, std::chrono::nanoseconds time) override {
    Stopwatch watch(outstanding);
    slots_.resize(outstanding);
    for (std::size_t slot = 0; slot < outstanding; ++slot) Acquire(slot, watch);
    for (std::size_t under_way = outstanding; under_way > 0;) {
      for (const Answer& answer : calls_->Wait(Clock::time_point::max())) {
        const bool acquiring = slots_[answer.number].acquiring;
        if (acquiring && answer.ok()) {
          watch.Acquired(answer.number);
          Release(answer);
          continue;
        }
        // The daemon may still be busy with an earlier load.
        const bool refused = acquiring && answer.refused();
        if (!answer.ok() && !refused) throw std::runtime_error(answer.reason);
        if (!refused) watch.Released(answer.number);
        if (Clock::now() < watch.start() + time) {
          Acquire(answer.number, watch);
        } else {
          --under_way;
        }
      }
    }
    return watch.Result();
  }

 private:
  struct Slot {
    std::size_t cycle = 0;
    bool acquiring = false;
  };

  void Acquire(std::size_t number, Stopwatch& watch) {
    Slot& slot = slots_[number];
    slot.acquiring = true;
    v1::AcquireRequest request;
    request.set_key(key_of_(number, slot.cycle++));
    request.mutable_ttl()->set_seconds(kTtlSeconds);
    watch.Began(number);
    calls_->Acquire(number, std::move(request));
  }
  void Release(const Answer& answer) {
    slots_[answer.number].acquiring = false;
    v1::ReleaseRequest request;
    request.set_key(answer.lease.key());
    request.set_token(answer.lease.token());
    calls_->Release(answer.number, std::move(request));
  }

  const std::unique_ptr<RpcCalls> calls_;
  const KeyMaker key_of_;
  std::vector<Slot> slots_;
};

}  // namespace

std::unique_ptr<Load> ClosedLoad(std::unique_ptr<RpcCalls> calls, KeyMaker key_of) {
  return std::make_unique<RpcLoad>(std::move(calls), key_of);
}
std::unique_ptr<Load> UnaryLoad(const std::string& address) {
  return ClosedLoad(UnaryCalls(address), KeyOf);
}
std::unique_ptr<Load> SessionLoad(const std::string& address) {
  return ClosedLoad(SessionCalls(address, 1), KeyOf);
}

}  // namespace redlock::bench
