#include "client/cpp/src/driver.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "client/cpp/core/endpoint.h"
#include "client/cpp/src/lingering.h"
#include "client/cpp/src/owner_label.h"

namespace redlock::client {
namespace {

constexpr Duration kShortestGrace = std::chrono::milliseconds(100);
constexpr Duration kLongestGrace = std::chrono::hours(24);
// For the answer to the first ping, once the connection is there.
constexpr Duration kAnswerPatience = std::chrono::milliseconds(500);
// The same for the first event of a watch.
constexpr Duration kFirstEvent = std::chrono::seconds(1);

MachineOptions ForMachine(const Options& options) {
  if (options.grace < kShortestGrace || options.grace > kLongestGrace) {
    throw std::invalid_argument("grace: must be from 100 ms to 24 h, not " +
                                InWords(options.grace));
  }
  // A name may have several addresses, and gRPC tries one after the other.
  const bool has_name = std::any_of(options.endpoints.begin(), options.endpoints.end(),
                                    [](const auto& it) { return !HostName(it).empty(); });
  return {.endpoints = options.endpoints,
          .grace = options.grace,
          .connect_timeout = options.connect_timeout * (has_name ? 2 : 1) + kAnswerPatience,
          .wait_for_daemon = options.wait_for_daemon};
}

std::string OwnerOf(const Options& options) {
  if (!options.owner) return DefaultOwner();
  if (const auto error = CheckOwner(*options.owner)) throw std::invalid_argument(error->message);
  return *options.owner;
}

}  // namespace

// --- Start and close

std::shared_ptr<Driver> Driver::Start(const Options& options) {
  std::shared_ptr<Driver> driver(new Driver(options));
  driver->keeper_ = std::thread([raw = driver.get()] { raw->Keep(); });
  return driver;
}

Driver::Driver(const Options& options)
    : options_(options),
      owner_(OwnerOf(options)),
      endpoints_(std::in_place, options),
      machine_(ForMachine(options), clock_, random_),
      calls_(options.endpoints, clock_, random_),
      watches_(options.endpoints.size(), clock_, random_,
               ForMachine(options).connect_timeout + kFirstEvent),
      observers_(options.endpoints, clock_, random_) {}

void Driver::Close() {
  Do([this](Machine& machine) {
    closing_ = true;
    watches_.CloseAll(ClientClosed());
    observers_.CloseAll(ClientClosed());
    calls_.Close();
    ReleaseLeftovers();
    machine.Close();
  });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return closed_ && watching_.empty(); });
  const bool finished = finished_;
  lock.unlock();
  if (finished) {
    Finish();
  } else {
    Lingering::Add(shared_from_this());
  }
}

void Driver::Finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return finished_; });
  timer_.Set({});
  lock.unlock();
  keeper_.join();
  // All streams and calls have been cancelled.
  lock.lock();
  changed_.wait(lock, [this] {
    return streams_.empty() && unary_calls_.empty() && watch_streams_.empty() &&
           observe_streams_.empty();
  });
  endpoints_.reset();
}

void Driver::Quit() {
  Do([](Machine& machine) { machine.Quit(); });
}

// --- The machine

// Takes the effects and sets the timer. Called after each call of the machine, under the mutex.
void Driver::Adjust() {
  ReleaseLeftovers();
  for (std::vector<Effect> made : {calls_.TakeEffects(), watches_.TakeEffects(),
                                   observers_.TakeEffects(), machine_.TakeEffects()}) {
    std::move(made.begin(), made.end(), std::back_inserter(effects_));
  }
  const TimePoint next = std::min({machine_.NextDeadline(), calls_.NextDeadline(),
                                   watches_.NextDeadline(), observers_.NextDeadline()});
  if (next >= wake_at_) return;  // the keeper thread sets later times
  wake_at_ = next;
  timer_.Set(next);
}

void Driver::ReleaseLeftovers() {
  for (const Calls::Leftover& leftover : calls_.TakeLeftovers()) {
    machine_.ReleaseToken(leftover.key, leftover.token, leftover.lasts);
  }
}

void Driver::Keep() {
  while (true) {
    timer_.Wait();
    {
      const std::lock_guard lock(mutex_);
      if (finished_) return;
      if (wake_at_ > clock_.Now()) continue;  // another thread has set a new time
      machine_.Tick();
      calls_.Tick();
      watches_.Tick();
      observers_.Tick();
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
  carrier_ = std::this_thread::get_id();
  while (!effects_.empty()) {
    Effect effect = std::move(effects_.front());
    effects_.pop_front();
    lock.unlock();
    std::visit([this](auto& each) { CarryOut(each); }, effect);
    lock.lock();
  }
  carrying_out_ = false;
  carrier_ = {};
}

}  // namespace redlock::client
