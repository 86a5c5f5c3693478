// The lines that wait for the writer's thread (line_writer.h), and the handshakes with that thread.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/sync/mutex.h"

namespace redlock::observe {

// Thread-safe. No function but those that say so waits.
class LineQueue {
 public:
  // In bytes. As much again may be on its way to the descriptor.
  static constexpr std::size_t kMost = 1U << 20U;
  // Details are dropped at half of it, so that they do not crowd out what is important.
  static constexpr std::size_t kMostWithDetails = kMost / 2;
  static constexpr std::chrono::seconds kTick{1};
  // How long the first line waits for others, because waking the thread for each would cost the
  // caller more than the line.
  static constexpr std::chrono::milliseconds kGather{5};
  // How long Flush() waits, and how long the writer may take after Close().
  static constexpr std::chrono::seconds kPatience{1};

  enum class Weight { kImportant, kDetail };

  void Put(std::string_view line, Weight weight);
  // Waits until everything that is queued now has been written or dropped, for up to kPatience.
  void Flush();
  // Later lines are dropped. The writer should end.
  void Close();
  // Waits for End() for somewhat more than kPatience, so that a writer that gives up by itself is
  // seen to end. Returns true if it has ended.
  [[nodiscard]] bool WaitForEnd();
  // Counts lines that the writer dropped.
  void CountDropped(std::uint64_t lines) { total_dropped_ += lines; }
  [[nodiscard]] std::uint64_t dropped() const { return total_dropped_; }

  // For the writer's thread.

  struct Taken {
    std::uint64_t dropped = 0;  // since the last call, after the lines of the text
    bool closed = false;
  };
  // Waits for a line for up to kTick, gathers more, and moves all of them to `text`. What it
  // returned the last time counts as written or dropped.
  Taken Take(std::string& text);
  [[nodiscard]] bool IsClosed();
  // True if kPatience has passed since Close(), so that the writer must give up.
  [[nodiscard]] bool IsOverdue();
  void End();

 private:
  using Clock = std::chrono::steady_clock;

  Mutex mutex_;
  std::condition_variable_any filled_;
  std::condition_variable_any emptied_;
  std::string lines_ REDLOCK_GUARDED_BY(mutex_);
  std::uint64_t put_ REDLOCK_GUARDED_BY(mutex_) = 0;      // bytes that were ever queued
  std::uint64_t taken_ REDLOCK_GUARDED_BY(mutex_) = 0;    // of these, what Take() has returned
  std::uint64_t written_ REDLOCK_GUARDED_BY(mutex_) = 0;  // of these, what was written or dropped
  std::uint64_t dropped_ REDLOCK_GUARDED_BY(mutex_) = 0;  // since the last Take()
  std::optional<Clock::time_point> closed_ REDLOCK_GUARDED_BY(mutex_);
  bool ended_ REDLOCK_GUARDED_BY(mutex_) = false;
  std::atomic<std::uint64_t> total_dropped_ = 0;
};

}  // namespace redlock::observe
