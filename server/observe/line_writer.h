// Writes lines to a file descriptor from its own thread, so that no caller waits for a slow reader,
// a full disk, or a reader that has gone.
//
// The queue is bounded. A line that does not fit, or that cannot be written, is dropped and
// counted, and a line of its own reports the number as soon as writing works again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "server/observe/line_queue.h"

namespace redlock::observe {

// Ignore SIGPIPE and SIGXFSZ before you create one. Thread-safe.
class LineWriter {
 public:
  // PIPE_BUF of Linux. Lines of up to this size are written whole to a pipe, even if other
  // processes write to it too.
  static constexpr std::size_t kLongestLine = 4096;
  using Weight = LineQueue::Weight;
  // Both are called on the writer's thread, and may call Put().
  struct Callbacks {
    // Returns the line that reports dropped lines.
    std::function<std::string(std::uint64_t dropped)> report;
    // Called about once per LineQueue::kTick.
    std::function<void()> tick;
  };

  // Starts the thread. The descriptor must stay open until the process ends. No line is longer than
  // `longest`.
  LineWriter(int descriptor, Callbacks callbacks, std::size_t longest = kLongestLine);
  ~LineWriter() { Close(); }
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // Queues a line, which ends with '\n' and has no other. Never waits for I/O.
  void Put(std::string_view line, Weight weight);
  // Waits until everything that is queued now has been written or dropped, but not longer than
  // LineQueue::kPatience. Not on the writer's thread.
  void Flush();
  // Writes what is queued and ends the thread. If that takes longer than LineQueue::kPatience, the
  // thread is left behind, because it may be blocked in a write that never returns. Later lines are
  // dropped.
  void Close();
  // How many lines have been dropped so far.
  [[nodiscard]] std::uint64_t dropped() const;

 private:
  class Output;

  const std::shared_ptr<LineQueue> queue_;  // shared with the thread, which may outlive this object
  std::thread thread_;
};

}  // namespace redlock::observe
