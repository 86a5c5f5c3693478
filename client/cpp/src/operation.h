// What is private to the core's parts.
#pragma once

#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "client/cpp/src/core.h"

namespace redlock::client {

// Inside the mutex; afterwards, what has been collected is done without it.
class Core::Section {
 public:
  explicit Section(Core& core) : core_(core), lock_(core.mutex_) {}
  ~Section() {
    core_.Flush(*this);
    lock_.unlock();
    for (const auto& action : actions_) action();
  }
  Section(const Section&) = delete;
  Section& operator=(const Section&) = delete;

  void Then(std::function<void()> action) { actions_.push_back(std::move(action)); }

 private:
  Core& core_;
  std::unique_lock<std::mutex> lock_;
  std::vector<std::function<void()>> actions_;
};

// One stream, from the attempt to connect on. Under the mutex.
struct Core::Connection {
  std::string endpoint;
  std::shared_ptr<Stream> stream;  // null until it has been opened
  DaemonClock clock;
  TimePoint opened{};
  std::uint64_t ping = 0;  // the first operation; its answer makes the connection ready
  bool ready = false;
  TimePoint ready_since{};
  bool writing = false;
  bool closing = false;  // to be closed once what is being written has been
  bool ended = false;
  std::deque<v1::SessionOperation> outgoing;
};

// Waits for an answer, from one connection to the next.
struct Core::Operation {
  enum class Kind { kAcquire, kExtend, kRelease, kTakeAlong };
  // `result` is null where there is none; `error` says why then, and also what the daemon refused.
  using Answered =
      std::function<void(Section& section, Operation& operation, const v1::SessionResult* result,
                         TimePoint made, const Error& error)>;

  Kind kind = Kind::kAcquire;
  v1::SessionOperation message;
  Answered answered;
  bool single_try = false;
  std::optional<TimePoint> deadline{};
  std::optional<Reason> given_up{};  // the daemon has been asked to, or never heard of it
  std::function<void(int)> queued{};
  std::shared_ptr<void> stop_callback{};
  Connection* sent_over = nullptr;  // for comparing only
  int sendings = 0;
  TimePoint sent{};
  TimePoint send_at{};  // not before
};

}  // namespace redlock::client
