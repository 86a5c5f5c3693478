// Polls a completion queue of gRPC and serves its calls on the strand of one shard.
#pragma once

#include <grpcpp/completion_queue.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "server/runtime/shard_thread.h"

namespace redlock::rpc {

// Has its own thread. There is one queue and one thread per shard: more would only wake each other.
class Poller {
 public:
  // Starts at once. The shard must outlive this object.
  Poller(std::unique_ptr<grpc::ServerCompletionQueue> queue, runtime::ShardThread& shard);
  // Waits until the last call has ended. The server must have been shut down.
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  [[nodiscard]] grpc::ServerCompletionQueue& queue() { return *queue_; }
  // The event loop of the shard on whose strand calls are served.
  [[nodiscard]] EventLoop& loop() { return loop_; }

  struct Progress {
    std::uint64_t polls = 0;
    bool within_grpc = false;  // waits, or reads sockets
    Duration cpu{};            // time used by the thread
  };
  // What the thread does. From any thread.
  [[nodiscard]] Progress progress() const;

  // Does a portion of the stream's work on the strand: starts to read a message, or handles a part
  // of a large one. The portion is done at once; or, if streams have already done many portions
  // since the sockets were polled, when it is the stream's turn. Streams that always have more work
  // must not keep other calls from being read: gRPC does not poll its sockets while its queue has
  // completions. On the strand. The loop's thread posts the portion, because it does not wake this
  // thread. `stream` is only compared.
  void Do(const void* stream, std::function<void()> portion);
  // Reports that the stream has handled this many operations, which shortens its turn. On the
  // strand.
  void CountOperations(const void* stream, int operations);

  // Counts the accepted calls. The queue accepts operations until the last call has ended.
  void OnCallBegun();
  void OnCallEnded();

 private:
  static constexpr auto kRelaxed = std::memory_order_relaxed;

  struct Portion {
    const void* stream;
    std::function<void()> work;
  };

  void Run();
  void TakeTurns();
  // Handles the completion in tag_ and ok_.
  void Serve();
  // Waits for a completion, then in tag_ and ok_. Returns false if the queue is shut down.
  [[nodiscard]] bool Wait();
  // Enters or leaves gRPC.
  void Cross() { crossings_.store(crossings_.load(kRelaxed) + 1, kRelaxed); }
  // Looks for a completion without waiting. Returns true if there is one, now in tag_ and ok_.
  [[nodiscard]] bool Poll();

  const std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  EventLoop& loop_;
  void* tag_ = nullptr;
  bool ok_ = false;
  bool serving_ = false;        // the thread holds the strand, and looks at later_
  const void* turn_ = nullptr;  // the stream whose turn it is, if streams wait for their turns
  // How many portions streams may still do at once. In a turn: how many messages and operations the
  // stream may still handle.
  int left_ = 0;
  std::deque<Portion> later_;
  std::mutex mutex_;
  std::condition_variable none_;
  std::size_t calls_ = 0;
  std::atomic<std::uint64_t> crossings_ = 0;  // into gRPC and out of it
  std::thread thread_;
  const pthread_t handle_;
};

}  // namespace redlock::rpc
