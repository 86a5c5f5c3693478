// A load of lock cycles with a fixed number outstanding at a time. Each cycle acquires and then
// releases an uncontended key.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace redlock::bench {

using Clock = std::chrono::steady_clock;

struct LoadResult {
  double seconds = 0;
  std::vector<double> acquire_us;  // one per acquisition
  std::vector<double> cycle_us;    // acquire and release together
  double client_cpu_us = 0;        // of the process that runs the load

  [[nodiscard]] double per_second() const { return static_cast<double>(cycle_us.size()) / seconds; }
};

class Load {
 public:
  virtual ~Load() = default;
  // Runs for `time` and returns what was completed. Completes the cycles under way before it
  // returns. Tries again if an acquisition is refused for overload. Throws if an operation fails
  // for another reason.
  [[nodiscard]] virtual LoadResult Run(std::size_t outstanding, std::chrono::nanoseconds time) = 0;
};

// The key of a slot's nth cycle. Each slot uses a few keys, so that the nodes keep a working set.
[[nodiscard]] inline std::string KeyOf(std::size_t slot, std::size_t cycle) {
  return "bench:" + std::to_string(slot) + ":" + std::to_string(cycle % 16);
}

using KeyMaker = std::string (*)(std::size_t slot, std::size_t cycle);

// User and system time of this process.
[[nodiscard]] double OwnCpuMicros();
// User and system time of another process.
[[nodiscard]] double CpuMicros(int pid);

// Measures the cycles of all slots.
class Stopwatch {
 public:
  explicit Stopwatch(std::size_t slots) : slots_(slots), cpu_(OwnCpuMicros()) {}

  void Began(std::size_t slot) { slots_[slot].began = Clock::now(); }
  void Acquired(std::size_t slot) { slots_[slot].acquired = Clock::now(); }
  void Released(std::size_t slot);
  [[nodiscard]] Clock::time_point start() const { return start_; }
  [[nodiscard]] LoadResult Result();

 private:
  struct Slot {
    Clock::time_point began, acquired;
  };
  std::vector<Slot> slots_;
  const Clock::time_point start_ = Clock::now();
  const double cpu_;
  LoadResult result_;
};

// Directly to the nodes, pipelined, from one thread; a majority decides.
enum class RawMode {
  kDocumented,     // SET NX PX and the compare-and-delete script of the Redis documentation
  kOwnScriptEach,  // the project's script with fence and guard, one step per call
  kOwnScripts,     // many steps per call, as the daemon does
};
[[nodiscard]] std::unique_ptr<Load> RawLoad(const std::vector<std::uint16_t>& ports, RawMode mode);

// DocumentedClient, with a thread and connections for each outstanding cycle.
[[nodiscard]] std::unique_ptr<Load> LibraryLoad(std::vector<std::uint16_t> ports);

class RpcCalls;
// Acquire and Release by these calls, from one thread.
[[nodiscard]] std::unique_ptr<Load> ClosedLoad(std::unique_ptr<RpcCalls> calls, KeyMaker key_of);

// Acquire and Release over one connection from one thread.
[[nodiscard]] std::unique_ptr<Load> UnaryLoad(const std::string& address);

// The same operations in one Session.
[[nodiscard]] std::unique_ptr<Load> SessionLoad(const std::string& address);

}  // namespace redlock::bench
