// Waits for gRPC, and serves its calls in turns of one shard.
#pragma once

#include <grpcpp/completion_queue.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

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
  // Of the shard in whose turns calls are served.
  [[nodiscard]] EventLoop& loop() { return loop_; }

  // A portion of a stream's work, in a turn: at once, or where streams have already done many, once
  // all that has come so far is done and the sockets have been looked at again. Streams that always
  // have more must not keep other calls from being read: gRPC does not look at sockets for as long
  // as its queue has something. A portion begins to read a message, or does a part of what a large
  // one asks for. From the poller's thread.
  void Do(std::function<void()> portion);

  // Of each call that has been accepted. Until the last one has ended, operations may be begun on
  // the queue.
  void OnCallBegun();
  void OnCallEnded();

 private:
  void Run();
  void DoLater();
  // Whether there is a completion, which is the next to be told.
  [[nodiscard]] bool PollQueue(int times);

  const std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  EventLoop& loop_;
  void* tag_ = nullptr;
  bool ok_ = false;
  int portions_ = 0;  // that streams may yet do before the sockets are looked at
  std::deque<std::function<void()>> later_;
  std::mutex mutex_;
  std::condition_variable none_;
  std::size_t calls_ = 0;
  std::thread thread_;
};

}  // namespace redlock::rpc
