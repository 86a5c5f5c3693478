// Waits for gRPC, and serves its calls in turns of one shard.
#pragma once

#include <grpcpp/completion_queue.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "server/runtime/shard_thread.h"

namespace redlock::rpc {

// A thread of its own. One queue and one thread for each shard: more of them only wake each other.
class Poller {
 public:
  // Begins at once. The shard must outlive this.
  Poller(std::unique_ptr<grpc::ServerCompletionQueue> queue, runtime::ShardThread& shard);
  // After the server's shutdown: waits until the last call has ended.
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  [[nodiscard]] grpc::ServerCompletionQueue& queue() { return *queue_; }

  // Of each call that has been accepted. Until the last one has ended, operations may be begun on
  // the queue.
  void OnCallBegun();
  void OnCallEnded();

 private:
  void Run();

  const std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  EventLoop& loop_;
  std::mutex mutex_;
  std::condition_variable none_;
  std::size_t calls_ = 0;
  std::thread thread_;
};

}  // namespace redlock::rpc
