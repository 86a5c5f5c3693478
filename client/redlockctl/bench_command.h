// `redlockctl bench`: measures how fast locks are acquired and released through the C++ library.
#pragma once

#include <redlock/client.h>

#include <chrono>
#include <string>

#include "client/redlockctl/failure.h"
#include "client/redlockctl/printer.h"

namespace redlockctl {

struct BenchOptions {
  std::chrono::milliseconds duration = std::chrono::seconds(5);
  int concurrency = 16;  // callers, each of which repeatedly acquires and releases a lock
  bool one_key = false;  // all callers compete for one key; otherwise each has its own
};

[[nodiscard]] ExitStatus Bench(redlock::client::Client& client, const BenchOptions& options,
                               const Printer& printer);

}  // namespace redlockctl
