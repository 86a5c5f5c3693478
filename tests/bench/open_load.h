// An open loop: cycles and extensions begin at fixed rates, however long the answers take.
// Latencies count from the time at which an operation was to begin, so a service or a generator
// that stalls cannot hide the operations that would have begun meanwhile.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/load.h"
#include "tests/bench/rpc_calls.h"

namespace redlock::bench {

inline constexpr std::size_t kHotKeys = 1'000;
inline constexpr std::size_t kWaitersPerHotKey = 10;
// A slot's key among the hot ones.
[[nodiscard]] inline std::string HotKeyOf(std::size_t slot, std::size_t /*cycle*/) {
  return "bench:hot:" + std::to_string(slot % kHotKeys);
}

struct OpenPlan {
  // Cycles a second; 0: only extensions. A cycle acquires an uncontended key, and releases it at
  // once. With `hands_over`, each of the hot keys has a holder and 10 waiters at first; a cycle
  // releases the holder of the next one and adds a waiter to it, so one waiter is granted the key.
  double rate = 0;
  bool hands_over = false;
  // Cycles that would be more are not begun, and count as shed. Limits the generator's memory.
  std::size_t most_outstanding = 0;
  std::string kept_prefix;  // of the keys of leases that are extended
  int daemon = 0;           // the process whose CPU counts
  std::chrono::nanoseconds warm_up{};
  std::chrono::nanoseconds time{};
};

struct OpenResult {
  double seconds = 0;
  std::size_t offered = 0, completed = 0, refused = 0, shed = 0;
  std::size_t outstanding = 0;     // at the end of the time
  std::vector<double> acquire_ms;  // of a hot key: from the release to the grant to a waiter
  std::vector<double> extend_ms;
  std::vector<double> late_ms;  // how late the generator began a cycle
  double client_cpu_us = 0;     // of the process that runs the load
  double daemon_cpu_us = 0;
  // Not even one of these is acceptable.
  std::size_t unanswered = 0;      // several seconds after the time
  std::size_t refused_others = 0;  // extensions and releases
  std::size_t failed = 0;          // for another reason than OVERLOADED
  std::size_t lost = 0;
  std::string why_failed;  // the first one
};

// For one thread.
class OpenLoad {
 public:
  OpenLoad(std::unique_ptr<RpcCalls> calls, OpenPlan plan);

  // Acquires the kept leases and the hot keys, offers the load, and waits for its answers. Leaves
  // only the kept leases held.
  [[nodiscard]] OpenResult Run();
  // The leases that are held, while this object lives and for a second after Run().
  [[nodiscard]] const std::vector<v1::Lease>& kept() const { return kept_; }

 private:
  struct Slot {
    enum class State { kFree, kAcquiring, kHolding, kReleasing };
    State state = State::kFree;
    Clock::time_point due;
    std::size_t hot_key = 0;
    std::string key, token;
  };
  struct HotKey {
    static constexpr std::size_t kNobody = static_cast<std::size_t>(-1);
    std::size_t holder = kNobody;
    std::deque<Clock::time_point> owed;  // when releases were due that wait for a grant
    Clock::time_point released;          // when the latest release was due
  };

  void AcquireKept();
  void FillHotKeys();
  void Offer();
  void Drain();
  void Arrive(Clock::time_point due);
  bool Begin(Clock::time_point due, std::string key, std::size_t hot_key);
  void Release(std::size_t number);
  void EndHold(HotKey& key, Clock::time_point due);
  void Extend(Clock::time_point due);
  void TakeAnswers(Clock::time_point until);
  void OnAnswer(const Answer& answer);
  void OnGranted(std::size_t number, const Answer& answer);
  void OnExtended(std::size_t number, const Answer& answer);
  void OnFailure(const Answer& answer);
  void Free(std::size_t number);
  [[nodiscard]] bool Counts(Clock::time_point due) const { return due >= begin_ && due < end_; }
  [[nodiscard]] std::size_t outstanding() const { return slots_.size() - free_.size(); }

  const std::unique_ptr<RpcCalls> calls_;
  const OpenPlan plan_;
  std::vector<Slot> slots_;
  std::vector<std::size_t> free_;
  std::vector<HotKey> hot_keys_;
  std::vector<v1::Lease> kept_;
  // When the extensions were due. The first ones are the acquisitions of the kept leases. Their
  // numbers follow those of the slots.
  std::vector<Clock::time_point> extensions_;
  std::size_t extending_ = 0;
  std::size_t arrivals_ = 0;
  bool draining_ = false;
  Clock::time_point begin_, end_;
  OpenResult result_;
};

}  // namespace redlock::bench
