// A load of lock cycles: so many outstanding at a time, each an acquire and then a release of a key
// that nobody else wants.
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
  std::vector<double> acquire_us;  // one for each acquisition
  std::vector<double> cycle_us;    // acquired and released
  double client_cpu_us = 0;        // of this process, or of what runs the load

  [[nodiscard]] double per_second() const { return static_cast<double>(cycle_us.size()) / seconds; }
};

class Load {
 public:
  virtual ~Load() = default;
  // Runs for that long and returns what was completed in it. What is under way at the end is
  // completed before this returns. Throws where something fails.
  [[nodiscard]] virtual LoadResult Run(std::size_t outstanding, std::chrono::nanoseconds time) = 0;
};

// The key that a slot takes in its nth cycle: a few each, so that nodes keep a working set.
[[nodiscard]] inline std::string KeyOf(std::size_t slot, std::size_t cycle) {
  return "bench:" + std::to_string(slot) + ":" + std::to_string(cycle % 16);
}

// User and system time of this process.
[[nodiscard]] double OwnCpuMicros();
// User and system time of another one.
[[nodiscard]] double CpuMicros(int pid);

// Times the cycles of all slots.
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

// Straight to the nodes, pipelined, from one thread; decided at the majority.
enum class RawMode {
  kDocumented,     // SET NX PX and the compare-and-delete script, as the Redis documentation has it
  kOwnScriptEach,  // the project's script, with fence and guard, called for each step
  kOwnScripts,     // many steps in a call of it, as the daemon does
};
[[nodiscard]] std::unique_ptr<Load> RawLoad(const std::vector<std::uint16_t>& ports, RawMode mode);

// DocumentedClient, a thread and connections for each that is outstanding.
[[nodiscard]] std::unique_ptr<Load> LibraryLoad(std::vector<std::uint16_t> ports);

// Acquire and Release over one connection from one thread.
[[nodiscard]] std::unique_ptr<Load> UnaryLoad(const std::string& address);

// The same operations in one Session.
[[nodiscard]] std::unique_ptr<Load> SessionLoad(const std::string& address);

}  // namespace redlock::bench
