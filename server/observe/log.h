// Sets up the log. Callers never log tokens, passwords or certificates.
//
// Lines are formatted by the thread that logs them and written to standard error by another thread
// (line_writer.h), so that logging never waits for I/O. gRPC's own log goes the same way.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "server/config/config.h"

namespace redlock::observe {

class LineWriter;

// The log of the process, from the configured level on. Create one, after all forks. Destroy it
// when everything else has ended: it then writes what is left, for up to LineQueue::kPatience.
class Log {
 public:
  explicit Log(const config::Config& config);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // Logs why the process ends, at every level.
  void Fatal(const std::string& why);

 private:
  std::shared_ptr<LineWriter> writer_;
};

// How many lines this process has dropped, because standard error took none or took them too
// slowly.
[[nodiscard]] std::uint64_t DroppedLogLines();

}  // namespace redlock::observe
