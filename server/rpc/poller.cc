#include "server/rpc/poller.h"

#include "server/rpc/completion.h"

namespace redlock::rpc {
namespace {

// So many requests are taken in before what they ask of the nodes is sent.
constexpr int kBatch = 32;
// And so many messages of streams are read before the sockets are looked at again.
constexpr int kReadsAtOnce = 16;

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

void Poller::Read(std::function<void()> begin) {
  if (reads_at_once_ > 0) {
    --reads_at_once_;
    begin();
  } else {
    reads_later_.push_back(std::move(begin));
  }
}

void Poller::Run() {
  void* tag = nullptr;
  bool ok = false;
  const auto more = [&] {
    const auto no_wait = gpr_time_0(GPR_CLOCK_MONOTONIC);
    if (queue_->AsyncNext(&tag, &ok, no_wait) == grpc::CompletionQueue::GOT_EVENT) return true;
    reads_at_once_ = kReadsAtOnce;  // gRPC looks at the sockets before it says that there is none
    return false;
  };
  while (queue_->Next(&tag, &ok)) {
    EventLoop::Turn turn(loop_);
    // As long as there is work it is done here; sleeping and waking up is what would cost.
    for (bool got = true; got;) {
      for (int i = 0; got && i < kBatch; ++i) {
        static_cast<Completion*>(tag)->On(ok);
        got = more();
      }
      turn.Poll();
      got = got || more();
      if (got) continue;
      for (const auto& begin : std::exchange(reads_later_, {})) begin();
      got = more();
    }
  }
}

}  // namespace redlock::rpc
