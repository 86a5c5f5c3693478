#include "server/rpc/poller.h"

#include <algorithm>

#include "server/rpc/completion.h"

namespace redlock::rpc {
namespace {

// So many requests are taken in before what they ask of the nodes is sent.
constexpr int kBatch = 32;
// And so many portions of streams' work are done before the sockets are looked at again.
constexpr int kPortions = 16;
// gRPC sees to one socket at a time. Where there is much to do there are more, and a call that came
// on one of them should not have to wait for a turn's work for each of the others.
constexpr int kMostPolls = 8;

}  // namespace

Poller::Poller(std::unique_ptr<grpc::ServerCompletionQueue> queue, runtime::ShardThread& shard)
    : queue_(std::move(queue)), loop_(shard.loop()), thread_([this] { Run(); }) {}

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

void Poller::Do(std::function<void()> portion) {
  if (portions_ > 0) {
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
    if (queue_->AsyncNext(&tag_, &ok_, no_wait) == grpc::CompletionQueue::GOT_EVENT) return true;
  }
  portions_ = kPortions;  // gRPC looks at the sockets before it says that there is none
  return false;
}

void Poller::Run() {
  while (queue_->Next(&tag_, &ok_)) {
    EventLoop::StrandLock turn(loop_);
    // As long as there is work it is done here; sleeping and waking up is what would cost.
    for (bool got = true; got || !later_.empty();) {
      int done = 0;
      const auto poll = [this, &done] { return PollQueue(std::clamp(done, 1, kMostPolls)); };
      while (got && done < kBatch) {
        static_cast<Completion*>(tag_)->On(ok_);
        ++done;
        got = poll();
      }
      turn.Poll();
      got = got || poll();
      if (got) continue;
      DoLater();
      got = poll();
    }
  }
}

}  // namespace redlock::rpc
