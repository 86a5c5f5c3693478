#include "client/cpp/src/driver.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "client/cpp/src/translation.h"

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

// --- Streams

void Driver::CarryOut(const OpenStream& effect) {
  const SessionId session = effect.session;
  const std::string& endpoint = endpoints_->name(effect.endpoint);
  {
    const std::lock_guard lock(mutex_);
    streams_[session] = {};
  }
  const auto self = shared_from_this();
  auto stream = Stream::Open(
      endpoints_->stub(effect.endpoint), endpoints_->BearerToken(),
      {.message =
           [self, session](const v1::SessionResponse& message) {
             const Response response = FromProto(message);
             self->Do([&](Machine& machine) { machine.OnMessage(session, response); });
           },
       .written = [self,
                   session] { self->Do([=](Machine& machine) { machine.OnWritten(session); }); },
       .ended = [self, session, endpoint](
                    const grpc::Status& status) { self->OnEnded(session, status, endpoint); },
       .gone = [self, session] { self->OnGone(session); }});
  const std::lock_guard lock(mutex_);
  const auto found = streams_.find(session);
  if (found != streams_.end() && !found->second.ended) found->second.stream = std::move(stream);
}

void Driver::CarryOut(WriteMessage& effect) {
  if (const auto stream = StreamOf(effect.session)) stream->Write(ToProto(effect.request));
}

void Driver::CarryOut(const CancelStream& effect) {
  if (const auto stream = StreamOf(effect.session)) stream->Cancel();
}

std::shared_ptr<Stream> Driver::StreamOf(SessionId session) {
  const std::lock_guard lock(mutex_);
  const auto found = streams_.find(session);
  return found == streams_.end() ? nullptr : found->second.stream;
}

void Driver::OnEnded(SessionId session, const grpc::Status& status, const std::string& endpoint) {
  std::shared_ptr<Stream> stream;  // destroyed without the mutex
  {
    const std::lock_guard lock(mutex_);
    OpenedStream& opened = streams_.at(session);
    opened.ended = true;
    stream = std::move(opened.stream);
  }
  stream.reset();
  Do([&](Machine& machine) { machine.OnEnded(session, ToError(status, endpoint)); });
}

void Driver::OnGone(SessionId session) {
  const std::lock_guard lock(mutex_);
  streams_.erase(session);
  changed_.notify_all();
}

}  // namespace redlock::client
