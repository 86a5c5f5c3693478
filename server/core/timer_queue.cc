#include "server/core/timer_queue.h"

#include <limits>
#include <utility>

namespace redlock {
namespace {
constexpr std::size_t kNowhere = std::numeric_limits<std::size_t>::max();
}  // namespace

// Owned by the handle. In the heap until it fires, is cancelled, or the queue is destroyed.
class TimerQueue::Entry final : public TimerHandle::Entry {
 public:
  Entry(TimerQueue& queue, std::function<void()> what) : callback(std::move(what)), queue_(queue) {}
  ~Entry() override {
    if (place != kNowhere) queue_.Remove(place);
  }

  std::function<void()> callback;
  std::size_t place = kNowhere;

 private:
  TimerQueue& queue_;
};

// Destroying a callback may destroy handles of this queue, so their entries leave the heap first.
TimerQueue::~TimerQueue() {
  std::vector<std::function<void()>> callbacks;
  for (const Slot& slot : heap_) {
    slot.entry->place = kNowhere;
    callbacks.push_back(std::move(slot.entry->callback));
  }
  heap_.clear();
}

TimerHandle TimerQueue::Add(MonotonicTime when, std::function<void()> callback) {
  auto entry = std::make_unique<Entry>(*this, std::move(callback));
  heap_.emplace_back();
  SiftUp(heap_.size() - 1, {when, sequence_++, entry.get()});
  return TimerHandle(std::move(entry));
}

std::optional<MonotonicTime> TimerQueue::Next() const {
  if (heap_.empty()) return std::nullopt;
  return heap_.front().when;
}

std::optional<std::function<void()>> TimerQueue::TakeDue(MonotonicTime now) {
  if (heap_.empty() || heap_.front().when > now) return std::nullopt;
  Entry& entry = *heap_.front().entry;
  Remove(0);
  return std::exchange(entry.callback, nullptr);
}

void TimerQueue::Put(std::size_t place, const Slot& slot) {
  heap_[place] = slot;
  slot.entry->place = place;
}

void TimerQueue::SiftUp(std::size_t place, const Slot& slot) {
  while (place > 0) {
    const std::size_t parent = (place - 1) / 2;
    if (!(slot < heap_[parent])) break;
    Put(std::exchange(place, parent), heap_[parent]);
  }
  Put(place, slot);
}

void TimerQueue::SiftDown(std::size_t place, const Slot& slot) {
  while (true) {
    std::size_t child = 2 * place + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && heap_[child + 1] < heap_[child]) ++child;
    if (!(heap_[child] < slot)) break;
    Put(std::exchange(place, child), heap_[child]);
  }
  Put(place, slot);
}

void TimerQueue::Remove(std::size_t place) {
  heap_[place].entry->place = kNowhere;
  const Slot last = heap_.back();
  heap_.pop_back();
  if (place == heap_.size()) return;
  if (place > 0 && last < heap_[(place - 1) / 2]) {
    SiftUp(place, last);
  } else {
    SiftDown(place, last);
  }
}

}  // namespace redlock
