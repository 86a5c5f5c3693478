#include "server/observe/line_queue.h"

#include <utility>

namespace redlock::observe {

void LineQueue::Put(std::string_view line, Weight weight) {
  const std::size_t most = weight == Weight::kDetail ? kMostWithDetails : kMost;
  {
    const MutexLock lock(mutex_);
    if (closed_ || lines_.size() + line.size() > most) {
      ++dropped_;
      ++total_dropped_;
      return;
    }
    lines_ += line;
    put_ += line.size();
    if (lines_.size() > line.size()) return;  // the writer has been woken already
  }
  filled_.notify_one();
}

void LineQueue::Flush() {
  MutexLock lock(mutex_);
  const std::uint64_t all = put_;
  const auto until = Clock::now() + kPatience;
  while (written_ < all) {
    if (emptied_.wait_until(lock, until) == std::cv_status::timeout) return;
  }
}

void LineQueue::Close() {
  {
    const MutexLock lock(mutex_);
    closed_ = Clock::now();
  }
  filled_.notify_one();
}

bool LineQueue::WaitForEnd() {
  constexpr std::chrono::milliseconds kMore{200};
  MutexLock lock(mutex_);
  const auto until = Clock::now() + kPatience + kMore;
  while (!ended_) {
    if (emptied_.wait_until(lock, until) == std::cv_status::timeout) break;
  }
  return ended_;
}

LineQueue::Taken LineQueue::Take(std::string& text) {
  text.clear();
  MutexLock lock(mutex_);
  written_ = taken_;
  emptied_.notify_all();
  const auto tick = Clock::now() + kTick;
  while (lines_.empty() && !closed_) {
    if (filled_.wait_until(lock, tick) == std::cv_status::timeout) break;
  }
  const auto gathered = Clock::now() + kGather;
  while (!lines_.empty() && !closed_) {
    if (filled_.wait_until(lock, gathered) == std::cv_status::timeout) break;
  }
  text.swap(lines_);
  taken_ = put_;
  return {std::exchange(dropped_, 0), closed_.has_value()};
}

bool LineQueue::IsClosed() {
  const MutexLock lock(mutex_);
  return closed_.has_value();
}

bool LineQueue::IsOverdue() {
  const MutexLock lock(mutex_);
  return closed_ && Clock::now() - *closed_ >= kPatience;
}

void LineQueue::End() {
  const MutexLock lock(mutex_);
  ended_ = true;
  emptied_.notify_all();
}

}  // namespace redlock::observe
