#include "server/observe/line_writer.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace redlock::observe {
namespace {

using Clock = std::chrono::steady_clock;

std::uint64_t LinesIn(std::string_view text) {
  return static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

// Writes to the descriptor. On the writer's thread only.
class LineWriter::Output {
 public:
  Output(int descriptor, std::size_t longest, LineQueue& queue, const Callbacks& callbacks)
      : descriptor_(descriptor), longest_(longest), queue_(queue), callbacks_(callbacks) {}

  // Writes as many whole lines at a time as fit into the length of the longest.
  void Write(std::string_view text) {
    while (!text.empty()) {
      std::string_view batch = text.substr(0, longest_);
      if (batch.size() < text.size()) batch = batch.substr(0, batch.rfind('\n') + 1);
      if (batch.empty()) batch = text.substr(0, longest_);
      text.remove_prefix(batch.size());
      Report();
      if (missing_ == 0 && WriteBatch(batch)) continue;
      const std::uint64_t lines = LinesIn(batch);
      missing_ += lines;
      queue_.CountDropped(lines);
    }
  }

  // `lines` have been dropped at this point of the log.
  void AddMissing(std::uint64_t lines) { missing_ += lines; }

  void Report() {
    if (missing_ == 0 || !callbacks_.report) return;
    if (WriteBatch(callbacks_.report(missing_))) missing_ = 0;
  }

 private:
  // False if none of it could be written. The rest of what was written in part is written before
  // anything else, so that no line is torn.
  bool WriteBatch(std::string_view batch) {
    if (!rest_.empty()) {
      rest_.erase(0, WriteSome(rest_));
      if (!rest_.empty()) return false;
    }
    const std::size_t written = WriteSome(batch);
    if (written > 0) rest_ = batch.substr(written);
    return written > 0;
  }

  // Returns how many bytes were written before an error.
  std::size_t WriteSome(std::string_view text) {
    std::size_t written = 0;
    while (written < text.size()) {
      const ssize_t count = write(descriptor_, text.data() + written, text.size() - written);
      if (count > 0) {
        written += static_cast<std::size_t>(count);
      } else if (count == 0 || !MayRetry(errno)) {
        break;
      }
    }
    return written;
  }

  bool MayRetry(int error) { return error == EINTR || (error == EAGAIN && WaitUntilWritable()); }

  // For a descriptor that another process has made non-blocking.
  bool WaitUntilWritable() {
    constexpr int kSliceMs = 50;
    pollfd wanted{.fd = descriptor_, .events = POLLOUT, .revents = 0};
    while (!queue_.IsOverdue()) {
      const int ready = poll(&wanted, 1, kSliceMs);
      if (ready > 0 || (ready < 0 && errno != EINTR)) return ready > 0;
    }
    return false;
  }

  const int descriptor_;
  const std::size_t longest_;
  LineQueue& queue_;
  const Callbacks& callbacks_;
  std::uint64_t missing_ = 0;  // dropped lines that have not been reported
  std::string rest_;           // of a batch
};

LineWriter::LineWriter(int descriptor, Callbacks callbacks, std::size_t longest)
    : queue_(std::make_shared<LineQueue>()),
      thread_([descriptor, longest, queue = queue_, callbacks = std::move(callbacks)] {
        Output output(descriptor, longest, *queue, callbacks);
        std::string text;
        Clock::time_point ticked = Clock::now();
        bool closed = false;
        while (!closed) {
          const LineQueue::Taken taken = queue->Take(text);
          output.Write(text);
          output.AddMissing(taken.dropped);
          output.Report();
          closed = taken.closed;
          if (queue->IsClosed() || Clock::now() - ticked < LineQueue::kTick) continue;
          ticked = Clock::now();
          if (callbacks.tick) callbacks.tick();
        }
        queue->End();
      }) {}

void LineWriter::Close() {
  if (!thread_.joinable()) return;
  queue_->Close();
  if (queue_->WaitForEnd()) {
    thread_.join();
  } else {
    thread_.detach();
  }
}

void LineWriter::Put(std::string_view line, Weight weight) { queue_->Put(line, weight); }
void LineWriter::Flush() { queue_->Flush(); }
std::uint64_t LineWriter::dropped() const { return queue_->dropped(); }

}  // namespace redlock::observe
