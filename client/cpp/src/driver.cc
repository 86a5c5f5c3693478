#include "client/cpp/src/driver.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <utility>

namespace redlock::client {
namespace {

constexpr Duration kShortestGrace = std::chrono::milliseconds(100);

MachineOptions ForMachine(const Options& options) {
  if (options.grace < kShortestGrace) {
    throw std::invalid_argument("grace: must be at least 100 ms");
  }
  return {.endpoints = options.endpoints,
          .grace = options.grace,
          .connect_timeout = options.connect_timeout};
}

}  // namespace

// --- Start and close

std::shared_ptr<Driver> Driver::Start(const Options& options) {
  std::shared_ptr<Driver> driver(new Driver(options));
  driver->keeper_ = std::thread([raw = driver.get()] { raw->Keep(); });
  return driver;
}

Driver::Driver(const Options& options)
    : endpoints_(std::in_place, options), machine_(ForMachine(options), clock_, random_) {}

void Driver::Close() {
  Do([](Machine& machine) { machine.Close(); });
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_; });
    timer_.Set({});
  }
  keeper_.join();
  // All streams have been cancelled.
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return streams_.empty(); });
  endpoints_.reset();
}

// --- The machine

// Takes the effects and sets the timer. Called after each call of the machine, under the mutex.
void Driver::Adjust() {
  std::vector<Effect> made = machine_.TakeEffects();
  std::move(made.begin(), made.end(), std::back_inserter(effects_));
  const TimePoint next = machine_.NextDeadline();
  if (next >= wake_at_) return;  // the keeper thread sets later times
  wake_at_ = next;
  timer_.Set(next);
}

void Driver::Keep() {
  while (true) {
    timer_.Wait();
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return;
      if (wake_at_ > clock_.Now()) continue;  // another thread has set a new time
      machine_.Tick();
      wake_at_ = kNever;
      Adjust();
    }
    CarryOut();
  }
}

void Driver::CarryOut() {
  std::unique_lock lock(mutex_);
  if (carrying_out_) return;  // another thread, or a caller of this function, carries them out
  carrying_out_ = true;
  while (!effects_.empty()) {
    Effect effect = std::move(effects_.front());
    effects_.pop_front();
    lock.unlock();
    std::visit([this](auto& each) { CarryOut(each); }, effect);
    lock.lock();
  }
  carrying_out_ = false;
}

}  // namespace redlock::client
