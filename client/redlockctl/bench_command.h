// `redlockctl bench`: how fast locks are given out, through the C++ library.
#pragma once

#include <redlock/client.h>

#include <chrono>
#include <string>

#include "client/redlockctl/failure.h"
#include "client/redlockctl/printer.h"

namespace redlockctl {

struct BenchOptions {
  std::chrono::milliseconds duration = std::chrono::seconds(5);
  int concurrency = 16;  // callers, each of which takes and releases one lock after the other
  bool one_key = false;  // all want the same lock; else each has one of its own
};

[[nodiscard]] ExitStatus Bench(redlock::client::Client& client, const BenchOptions& options,
                               const Printer& printer);

}  // namespace redlockctl
