#include "tests/bench/load.h"

#include <sys/resource.h>

#include <thread>

#include "tests/bench/documented_client.h"

namespace redlock::bench {
namespace {

using Micros = std::chrono::duration<double, std::micro>;

class ThreadPerCaller final : public Load {
 public:
  explicit ThreadPerCaller(std::vector<std::uint16_t> ports) : ports_(std::move(ports)) {}

  LoadResult Run(std::size_t outstanding, std::chrono::nanoseconds time) override {
    while (clients_.size() < outstanding) {
      clients_.push_back(std::make_unique<DocumentedClient>(ports_));
    }
    std::vector<LoadResult> results(outstanding);
    std::vector<std::thread> threads;
    const double cpu = OwnCpuMicros();
    const auto start = Clock::now();
    for (std::size_t slot = 0; slot < outstanding; ++slot) {
      threads.emplace_back([&, slot] {
        for (std::size_t cycle = 0; Clock::now() < start + time; ++cycle) {
          const auto began = Clock::now();
          const std::string key = KeyOf(slot, cycle);
          const auto token = clients_[slot]->Acquire(key, std::chrono::seconds(10));
          const auto acquired = Clock::now();
          if (!token) continue;  // too slow: does not count
          clients_[slot]->Release(key, *token);
          results[slot].acquire_us.push_back(Micros(acquired - began).count());
          results[slot].cycle_us.push_back(Micros(Clock::now() - began).count());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    LoadResult sum{.seconds = std::chrono::duration<double>(Clock::now() - start).count(),
                   .acquire_us = {},
                   .cycle_us = {},
                   .client_cpu_us = OwnCpuMicros() - cpu};
    for (const LoadResult& result : results) {
      sum.acquire_us.insert(sum.acquire_us.end(), result.acquire_us.begin(),
                            result.acquire_us.end());
      sum.cycle_us.insert(sum.cycle_us.end(), result.cycle_us.begin(), result.cycle_us.end());
    }
    return sum;
  }

 private:
  const std::vector<std::uint16_t> ports_;
  std::vector<std::unique_ptr<DocumentedClient>> clients_;
};

}  // namespace

double OwnCpuMicros() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto micros = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
  };
  return micros(usage.ru_utime) + micros(usage.ru_stime);
}

// Reads nanoseconds, summed over the threads, because the clock ticks of /proc/PID/stat are too
// coarse.
double CpuMicros(int pid) {
  clockid_t clock{};
  timespec time{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

void Stopwatch::Released(std::size_t slot) {
  const Slot& times = slots_[slot];
  result_.acquire_us.push_back(Micros(times.acquired - times.began).count());
  result_.cycle_us.push_back(Micros(Clock::now() - times.began).count());
}

LoadResult Stopwatch::Result() {
  result_.seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  result_.client_cpu_us = OwnCpuMicros() - cpu_;
  return std::move(result_);
}

std::unique_ptr<Load> LibraryLoad(std::vector<std::uint16_t> ports) {
  return std::make_unique<ThreadPerCaller>(std::move(ports));
}

}  // namespace redlock::bench
