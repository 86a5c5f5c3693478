#include "client/redlockctl/bench_command.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <vector>

namespace redlockctl {
namespace {

namespace client = redlock::client;
using Clock = std::chrono::steady_clock;
using Ms = std::chrono::duration<double, std::milli>;

struct Caller {
  std::vector<double> acquire_ms, cycle_ms;
  std::optional<client::Error> failure;
};

void Work(client::Client& locks, const std::string& key, Clock::time_point end, Caller& caller) {
  while (Clock::now() < end) {
    const auto begun = Clock::now();
    auto lock = locks.acquire(key, {.owner = "redlockctl bench"});
    const auto acquired = Clock::now();
    if (!lock) {
      caller.failure = lock.error();
      return;
    }
    if (const auto released = lock->release(); !released) {
      caller.failure = released.error();
      return;
    }
    caller.acquire_ms.push_back(Ms(acquired - begun).count());
    caller.cycle_ms.push_back(Ms(Clock::now() - begun).count());
  }
}

Quantiles QuantilesOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&values](double part) {
    if (values.empty()) return 0.0;
    const auto index = static_cast<std::size_t>(part * static_cast<double>(values.size()));
    return values[std::min(index, values.size() - 1)];
  };
  return {at(0.5), at(0.99), at(0.999)};
}

}  // namespace

ExitStatus Bench(client::Client& client, const BenchOptions& options, const Printer& printer) {
  std::vector<Caller> callers(static_cast<std::size_t>(options.concurrency));
  const std::string prefix = "bench/" + std::to_string(getpid()) + "/";
  const auto begun = Clock::now();
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < callers.size(); ++i) {
      const std::string key = prefix + std::to_string(options.one_key ? 0 : i);
      threads.emplace_back([&client, &options, &caller = callers[i], key, begun] {
        Work(client, key, begun + options.duration, caller);
      });
    }
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - begun).count();
  std::vector<double> acquire;
  std::vector<double> cycle;
  for (const Caller& caller : callers) {
    if (caller.failure) {
      const Failure failure = Explain(*caller.failure);
      printer.Print(failure);
      return failure.exit_status;
    }
    acquire.insert(acquire.end(), caller.acquire_ms.begin(), caller.acquire_ms.end());
    cycle.insert(cycle.end(), caller.cycle_ms.begin(), caller.cycle_ms.end());
  }
  printer.Print(BenchReport{.callers = options.concurrency,
                            .one_key = options.one_key,
                            .seconds = seconds,
                            .cycles = cycle.size(),
                            .acquire_ms = QuantilesOf(std::move(acquire)),
                            .cycle_ms = QuantilesOf(std::move(cycle))});
  return kExitOk;
}

}  // namespace redlockctl
