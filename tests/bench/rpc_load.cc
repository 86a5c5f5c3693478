// Loads that go through the service, each with one thread, one completion queue and one connection.
#include <grpcpp/create_channel.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/async_unary_call.h>

#include <deque>
#include <optional>
#include <stdexcept>

#include "proto/redlock/v1/lock_service.grpc.pb.h"
#include "tests/bench/load.h"

namespace redlock::bench {
namespace {

constexpr int kTtlSeconds = 10;

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments own;
  own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), own);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) {
    throw std::runtime_error(address + ": no server answers");
  }
  return channel;
}

class Unary final : public Load {
 public:
  explicit Unary(const std::string& address) : stub_(Connect(address)) {}
  ~Unary() override {
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }
  Unary(const Unary&) = delete;
  Unary& operator=(const Unary&) = delete;

  LoadResult Run(std::size_t outstanding, std::chrono::nanoseconds time) override {
    Stopwatch watch(outstanding);
    slots_ = std::deque<Slot>(outstanding);
    for (std::size_t slot = 0; slot < outstanding; ++slot) Acquire(slot, watch);
    std::size_t under_way = outstanding;
    void* tag = nullptr;
    bool ok = false;
    while (under_way > 0 && queue_.Next(&tag, &ok)) {
      const auto number = reinterpret_cast<std::size_t>(tag);
      Slot& slot = slots_[number];
      if (!slot.status.ok()) throw std::runtime_error(slot.status.error_message());
      if (slot.acquiring) {
        watch.Acquired(number);
        Release(number);
        continue;
      }
      watch.Released(number);
      if (Clock::now() < watch.start() + time) {
        Acquire(number, watch);
      } else {
        --under_way;
      }
    }
    return watch.Result();
  }

 private:
  struct Slot {
    std::size_t cycle = 0;
    bool acquiring = false;
    std::string key;
    std::optional<grpc::ClientContext> context;
    grpc::Status status;
    v1::AcquireRequest acquire;
    v1::AcquireResponse acquired;
    v1::ReleaseRequest release;
    v1::ReleaseResponse released;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::AcquireResponse>> acquire_call;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::ReleaseResponse>> release_call;
  };

  void Acquire(std::size_t number, Stopwatch& watch) {
    Slot& slot = slots_[number];
    slot.acquiring = true;
    slot.acquire.set_key(KeyOf(number, slot.cycle++));
    slot.acquire.mutable_ttl()->set_seconds(kTtlSeconds);
    slot.acquire_call.reset();
    slot.context.emplace();
    watch.Began(number);
    slot.acquire_call = stub_.AsyncAcquire(&*slot.context, slot.acquire, &queue_);
    slot.acquire_call->Finish(&slot.acquired, &slot.status, reinterpret_cast<void*>(number));
  }
  void Release(std::size_t number) {
    Slot& slot = slots_[number];
    slot.acquiring = false;
    slot.release.set_key(slot.acquire.key());
    slot.release.set_token(slot.acquired.lease().token());
    slot.release_call.reset();
    slot.context.emplace();
    slot.release_call = stub_.AsyncRelease(&*slot.context, slot.release, &queue_);
    slot.release_call->Finish(&slot.released, &slot.status, reinterpret_cast<void*>(number));
  }

  grpc::CompletionQueue queue_;
  v1::LockService::Stub stub_;
  std::deque<Slot> slots_;
};

class Session final : public Load {
 public:
  explicit Session(const std::string& address) : stub_(Connect(address)) {}

  LoadResult Run(std::size_t outstanding, std::chrono::nanoseconds time) override {
    Stopwatch watch(outstanding);
    cycles_.assign(outstanding, 0);
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const auto stream = stub_.AsyncSession(&context, &queue, Tag(kStart));
    v1::SessionRequest pending, writing;
    v1::SessionResponse response;
    for (std::size_t slot = 0; slot < outstanding; ++slot) Acquire(slot, pending, watch);
    bool may_write = false;
    std::size_t under_way = outstanding;
    void* tag = nullptr;
    bool ok = false;
    while (under_way > 0 && queue.Next(&tag, &ok)) {
      if (!ok) throw std::runtime_error("the session has ended");
      switch (reinterpret_cast<std::size_t>(tag)) {
        case kStart:
          stream->Read(&response, Tag(kRead));
          may_write = true;
          break;
        case kWritten:
          may_write = true;
          break;
        case kRead:
          for (const v1::SessionResult& result : response.results()) {
            if (result.has_status()) throw std::runtime_error(result.status().message());
            const std::size_t slot = result.id();
            if (result.has_lease()) {
              watch.Acquired(slot);
              auto& operation = *pending.add_operations();
              operation.set_id(slot);
              operation.mutable_release()->set_key(result.lease().key());
              operation.mutable_release()->set_token(result.lease().token());
            } else {
              watch.Released(slot);
              if (Clock::now() < watch.start() + time) {
                Acquire(slot, pending, watch);
              } else {
                --under_way;
              }
            }
          }
          response.Clear();
          stream->Read(&response, Tag(kRead));
          break;
      }
      if (may_write && pending.operations_size() > 0) {
        may_write = false;
        writing.Swap(&pending);
        pending.Clear();
        stream->Write(writing, Tag(kWritten));
      }
    }
    auto result = watch.Result();
    context.TryCancel();
    queue.Shutdown();
    while (queue.Next(&tag, &ok)) {
    }
    return result;
  }

 private:
  enum : std::size_t { kStart, kWritten, kRead };
  static void* Tag(std::size_t tag) { return reinterpret_cast<void*>(tag); }

  void Acquire(std::size_t slot, v1::SessionRequest& pending, Stopwatch& watch) {
    auto& operation = *pending.add_operations();
    operation.set_id(slot);
    operation.mutable_acquire()->set_key(KeyOf(slot, cycles_[slot]++));
    operation.mutable_acquire()->mutable_ttl()->set_seconds(kTtlSeconds);
    watch.Began(slot);
  }

  v1::LockService::Stub stub_;
  std::vector<std::size_t> cycles_;
};

}  // namespace

std::unique_ptr<Load> UnaryLoad(const std::string& address) {
  return std::make_unique<Unary>(address);
}
std::unique_ptr<Load> SessionLoad(const std::string& address) {
  return std::make_unique<Session>(address);
}

}  // namespace redlock::bench
