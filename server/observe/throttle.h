// Limits the rate of similar log lines without hiding other lines or the last state.
//
// Similar lines have the same group, such as a status code, and the same source, such as a caller
// or a node. A source that repeats itself gets its first lines and then one every few seconds, with
// the number of lines that were not shown. The last line of a source follows in the end, unless
// kMostSources is exceeded.
#pragma once

#include <spdlog/common.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "server/observe/request_tag.h"
#include "server/sync/mutex.h"

namespace redlock::observe {

// Thread-safe.
class Throttle {
 public:
  using Clock = std::chrono::steady_clock;
  struct Rate {
    double per_second;
    double burst;
  };
  static constexpr Rate kSourceRate{0.2, 10};
  // Of all sources of a group, so that many sources together do not flood the log either.
  static constexpr Rate kGroupRate{10, 40};
  // If a group has more, the source that was quiet for the longest time is forgotten.
  static constexpr std::size_t kMostSources = 64;
  // A line that is held back is cut to this many bytes.
  static constexpr std::size_t kLongestHeldBack = 1024;

  struct Line {
    spdlog::level::level_enum level;
    std::string text;
    std::optional<RequestTag> tag;
  };
  using Write = std::function<void(const Line& line)>;

  // `write` is called under a mutex, so that the lines of a source stay in order. It must not call
  // back.
  explicit Throttle(Write write) : write_(std::move(write)) {}

  // Writes the line or holds it back. There must be few groups, and none may come from callers.
  void Log(Clock::time_point now, std::string_view group, std::string_view source, Line line);
  // Writes the last lines that were held back, as far as the rates allow. Call about once per
  // second.
  void Tend(Clock::time_point now);

 private:
  class TokenBucket {
   public:
    explicit TokenBucket(Rate rate) : rate_(rate), tokens_(rate.burst) {}
    void Fill(Clock::time_point now);
    [[nodiscard]] bool empty() const { return tokens_ < 1; }
    [[nodiscard]] bool full() const { return tokens_ >= rate_.burst; }
    void Take() { tokens_ -= 1; }

   private:
    Rate rate_;
    double tokens_;
    Clock::time_point filled_{};
  };
  struct Source {
    TokenBucket bucket{kSourceRate};
    std::optional<Line> last;   // if it was held back
    std::size_t held_back = 0;  // since the last line that was shown
    Clock::time_point used{};
  };
  struct Group {
    TokenBucket bucket{kGroupRate};
    std::size_t held_back = 0;  // lines of sources that were forgotten
    std::map<std::string, Source, std::less<>> sources;
  };

  static Source& Find(Group& group, std::string_view source);
  // Returns false if a rate does not allow it.
  bool TryWrite(Clock::time_point now, Group& group, Source& source, Line& line)
      REDLOCK_REQUIRES(mutex_);

  const Write write_;
  Mutex mutex_;
  std::map<std::string, Group, std::less<>> groups_ REDLOCK_GUARDED_BY(mutex_);
};

// Logs by way of the process's throttle. A line that is below the log's level also replaces one
// that was held back, because that one no longer holds.
void LogThrottled(spdlog::level::level_enum level, std::string_view group, std::string_view source,
                  std::string text, std::optional<RequestTag> tag = {});
// Call about once per second.
void TendThrottledLines();

}  // namespace redlock::observe
