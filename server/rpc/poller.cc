#include "server/rpc/poller.h"

#include <pthread.h>

#include <algorithm>
#include <ctime>

#include "server/rpc/completion.h"

namespace redlock::rpc {
namespace {

// How many completions are handled before the commands that they cause are sent to the nodes.
constexpr int kBatch = 32;
// How many portions of streams' work are done before the sockets are polled again.
constexpr int kPortions = 16;
// gRPC handles one socket per poll. Under load, several sockets are ready, and a call on one of
// them should not wait for a batch of work for each of the others.
constexpr int kMostPolls = 8;
// A call has up to three completions. With fewer than this many, there is no load, and each poll
// that finds nothing delays what is to be sent.
constexpr int kBusy = 4;

}  // namespace

Poller::Poller(std::unique_ptr<grpc::ServerCompletionQueue> queue, runtime::ShardThread& shard)
    : queue_(std::move(queue)),
      loop_(shard.loop()),
      thread_([this] { Run(); }),
      handle_(thread_.native_handle()) {}

Poller::~Poller() {
  {
    std::unique_lock lock(mutex_);
    none_.wait(lock, [this] { return calls_ == 0; });
  }
  queue_->Shutdown();
  thread_.join();
}

void Poller::OnCallBegun() {
  const std::lock_guard lock(mutex_);
  ++calls_;
}

void Poller::OnCallEnded() {
  const std::lock_guard lock(mutex_);
  if (--calls_ == 0) none_.notify_all();
}

Poller::Progress Poller::progress() const {
  const std::uint64_t crossings = crossings_.load(kRelaxed);
  Progress progress{.polls = crossings / 2, .within_grpc = crossings % 2 == 1};
  clockid_t clock{};
  timespec cpu{};
  if (pthread_getcpuclockid(handle_, &clock) == 0 && clock_gettime(clock, &cpu) == 0) {
    progress.cpu = std::chrono::seconds(cpu.tv_sec) + std::chrono::nanoseconds(cpu.tv_nsec);
  }
  return progress;
}

void Poller::Do(std::function<void()> portion) {
  if (!serving_) {
    loop_.Post(std::move(portion));
  } else if (portions_ > 0) {
    --portions_;
    portion();
  } else {
    later_.push_back(std::move(portion));
  }
}

void Poller::DoLater() {
  while (portions_ > 0 && !later_.empty()) {
    --portions_;
    const auto portion = std::move(later_.front());
    later_.pop_front();
    portion();
  }
}

bool Poller::PollQueue(int times) {
  const auto no_wait = gpr_time_0(GPR_CLOCK_MONOTONIC);
  for (; times > 0; --times) {
    Cross();
    const bool got = queue_->AsyncNext(&tag_, &ok_, no_wait) == grpc::CompletionQueue::GOT_EVENT;
    Cross();
    if (got) return true;
  }
  portions_ = kPortions;  // gRPC polls the sockets before it reports that there is no event
  return false;
}

bool Poller::Wait() {
  Cross();
  const bool got = queue_->Next(&tag_, &ok_);
  Cross();
  return got;
}

void Poller::Run() {
  while (Wait()) {
    EventLoop::StrandLock turn(loop_);
    serving_ = true;
    // Works without sleeping as long as there is work, because sleeping and waking up is expensive.
    for (bool got = true; got || !later_.empty();) {
      int done = 0;
      const auto poll = [this, &done] {
        return PollQueue(done < kBusy ? 1 : std::min(done, kMostPolls));
      };
      while (got && done < kBatch) {
        static_cast<Completion*>(tag_)->On(ok_);
        ++done;
        got = poll();
      }
      turn.Poll();
      got = got || poll();
      if (got || later_.empty()) continue;
      DoLater();
      got = poll();
    }
    serving_ = false;
  }
}

}  // namespace redlock::rpc
