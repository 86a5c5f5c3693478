#include "server/rpc/poller.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <ctime>

#include "server/rpc/completion.h"

namespace redlock::rpc {
namespace {

// How many completions are handled before the commands that they cause are sent to the nodes, or
// before the next stream has its turn.
constexpr int kBatch = 32;
// How many portions of streams' work are done at once, until a poll of the sockets finds nothing.
constexpr int kPortions = 16;
// How many messages and operations a stream handles in its turn. A message costs more than an
// operation. If a stream handles many small messages in a turn, their operations go to the nodes
// together, so their results return together, in one message.
constexpr int kTurn = 128;
// How long streams take turns before the commands that they cause are sent to the nodes, and the
// nodes' answers are read.
constexpr std::chrono::milliseconds kTurns{8};
// Streams have their turns when there are no completions, or after so many batches of them.
constexpr int kMostBatches = 4;
// gRPC handles one socket per poll. Under load, several sockets are ready, and a call on one of
// them should not wait for a batch of work for each of the others.
constexpr int kMostPolls = 8;
// While streams wait for their turns, about as many sockets are ready. They are polled before the
// next turns, but not more of them than this.
constexpr std::size_t kMostSockets = 64;
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

void Poller::Do(const void* stream, std::function<void()> portion) {
  if (!serving_) {
    loop_.Post(std::move(portion));
  } else if (left_ > 0 && (turn_ == nullptr ? later_.empty() : stream == turn_)) {
    --left_;
    portion();
  } else {
    later_.push_back({stream, std::move(portion)});
  }
}

void Poller::CountOperations(const void* stream, int operations) {
  if (stream == turn_) left_ -= operations;
}

void Poller::TakeTurns() {
  const auto until = std::chrono::steady_clock::now() + kTurns;
  const auto in_time = [until] { return std::chrono::steady_clock::now() < until; };
  do {
    const Portion next = std::move(later_.front());
    later_.pop_front();
    turn_ = next.stream;
    left_ = kTurn - 1;
    next.work();
    // A message that has already arrived is read at once. If a poll finds none, the turn is over.
    for (int done = 0; left_ > 0 && done < kBatch && in_time();) {
      if (!Poll()) break;
      const int before = left_;
      Serve();
      if (left_ == before) ++done;  // it was no part of the turn
    }
  } while (!later_.empty() && in_time());
  turn_ = nullptr;
  left_ = 0;
}

void Poller::Serve() { static_cast<Completion*>(tag_)->On(ok_); }

bool Poller::Poll() {
  Cross();
  const auto status = queue_->AsyncNext(&tag_, &ok_, gpr_time_0(GPR_CLOCK_MONOTONIC));
  Cross();
  return status == grpc::CompletionQueue::GOT_EVENT;
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
    int batches = 0;  // since streams have had their turns
    for (bool got = true; got || !later_.empty();) {
      int done = 0;
      int spare = static_cast<int>(std::min(later_.size(), kMostSockets));
      const auto poll = [this, &done, &spare] {
        int times = std::max(spare, done < kBusy ? 1 : std::min(done, kMostPolls));
        bool found = Poll();
        while (!found && --times > 0) found = Poll();
        spare = std::min(spare, times);
        if (!found) left_ = kPortions;  // gRPC polls before it reports that there is no event
        return found;
      };
      while (got && done < kBatch) {
        Serve();
        ++done;
        got = poll();
      }
      turn.Poll();
      got = got || poll();
      if (later_.empty() || (got && ++batches < kMostBatches)) continue;
      batches = 0;
      if (got) Serve();
      TakeTurns();
      got = poll();
    }
    serving_ = false;
  }
}

}  // namespace redlock::rpc
