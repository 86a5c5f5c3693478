#include "tests/bench/rpc_calls.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/async_unary_call.h>

#include <deque>
#include <limits>
#include <optional>
#include <stdexcept>
#include <variant>
#include <vector>

#include "proto/redlock/v1/lock_service.grpc.pb.h"

namespace redlock::bench {
namespace {

// Clients gather what is asked while a message is being written. Larger messages gain nothing.
constexpr int kMostOperations = 1'000;

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments own;
  own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), own);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) {
    throw std::runtime_error(address + ": no server answers");
  }
  return channel;
}

void* Tag(std::size_t tag) { return reinterpret_cast<void*>(tag); }

// Yields the tags of completed operations.
class Completions {
 public:
  ~Completions() {
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }
  Completions() = default;
  Completions(const Completions&) = delete;
  Completions& operator=(const Completions&) = delete;

  struct Completion {
    std::size_t tag = 0;
    bool ok = false;
  };
  std::optional<Completion> Next(Clock::time_point until) {
    void* tag = nullptr;
    bool ok = false;
    if (until == Clock::time_point::max()) {
      if (!queue_.Next(&tag, &ok)) return std::nullopt;
    } else {
      const auto left = std::max(until - Clock::now(), Clock::duration::zero());
      const auto deadline = std::chrono::system_clock::now() +
                            std::chrono::duration_cast<std::chrono::system_clock::duration>(left);
      if (queue_.AsyncNext(&tag, &ok, deadline) != grpc::CompletionQueue::GOT_EVENT) {
        return std::nullopt;
      }
    }
    return Completion{reinterpret_cast<std::size_t>(tag), ok};
  }
  [[nodiscard]] grpc::CompletionQueue& queue() { return queue_; }

 private:
  grpc::CompletionQueue queue_;
};

// The reason precedes the message in each status of the daemon.
std::string ReasonOf(const grpc::Status& status) {
  if (status.ok()) return {};
  return status.error_message().substr(0, status.error_message().find(':'));
}

class Unary final : public RpcCalls {
 public:
  explicit Unary(const std::string& address) : stub_(Connect(address)) {}
  ~Unary() override {
    for (Slot& slot : slots_) {
      if (slot.context) slot.context->TryCancel();
    }
  }
  Unary(const Unary&) = delete;
  Unary& operator=(const Unary&) = delete;

  void Acquire(std::size_t number, v1::AcquireRequest request) override {
    Slot& slot = Prepare(number);
    auto& call = slot.call.emplace<Call<v1::AcquireResponse>>();
    Finish(call, stub_.AsyncAcquire(&*slot.context, request, &completions_.queue()), slot, number);
  }
  void Extend(std::size_t number, v1::ExtendRequest request) override {
    Slot& slot = Prepare(number);
    auto& call = slot.call.emplace<Call<v1::ExtendResponse>>();
    Finish(call, stub_.AsyncExtend(&*slot.context, request, &completions_.queue()), slot, number);
  }
  void Release(std::size_t number, v1::ReleaseRequest request) override {
    Slot& slot = Prepare(number);
    auto& call = slot.call.emplace<Call<v1::ReleaseResponse>>();
    Finish(call, stub_.AsyncRelease(&*slot.context, request, &completions_.queue()), slot, number);
  }
  std::span<const Answer> Wait(Clock::time_point until) override {
    const auto completion = completions_.Next(until);
    if (!completion) return {};
    Slot& slot = slots_[completion->tag];
    answer_.number = completion->tag;
    answer_.reason = ReasonOf(slot.status);
    if (auto* acquire = std::get_if<Call<v1::AcquireResponse>>(&slot.call)) {
      answer_.lease.Swap(acquire->response.mutable_lease());
    } else if (auto* extend = std::get_if<Call<v1::ExtendResponse>>(&slot.call)) {
      answer_.lease.Swap(extend->response.mutable_lease());
    }
    return {&answer_, 1};
  }

 private:
  template <typename Response>
  struct Call {
    Response response;
    std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
  };
  struct Slot {
    std::optional<grpc::ClientContext> context;
    grpc::Status status;
    std::variant<std::monostate, Call<v1::AcquireResponse>, Call<v1::ExtendResponse>,
                 Call<v1::ReleaseResponse>>
        call;
  };

  Slot& Prepare(std::size_t number) {
    while (slots_.size() <= number) slots_.emplace_back();
    Slot& slot = slots_[number];
    slot.call.emplace<std::monostate>();  // before its context
    slot.context.emplace();
    return slot;
  }
  template <typename Response, typename Reader>
  void Finish(Call<Response>& call, Reader reader, Slot& slot, std::size_t number) {
    call.reader = std::move(reader);
    call.reader->Finish(&call.response, &slot.status, Tag(number));
  }

  v1::LockService::Stub stub_;
  std::deque<Slot> slots_;
  Answer answer_;
  Completions completions_;  // last: it is drained before the slots are destroyed
};

class Sessions final : public RpcCalls {
 public:
  Sessions(const std::string& address, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      Stream& stream = streams_.emplace_back(address);
      stream.io =
          stream.stub.AsyncSession(&stream.context, &completions_.queue(), TagOf(i, kStart));
    }
  }
  ~Sessions() override {
    for (Stream& stream : streams_) stream.context.TryCancel();
  }
  Sessions(const Sessions&) = delete;
  Sessions& operator=(const Sessions&) = delete;

  void Acquire(std::size_t number, v1::AcquireRequest request) override {
    *Add(number).mutable_acquire() = std::move(request);
  }
  void Extend(std::size_t number, v1::ExtendRequest request) override {
    *Add(number).mutable_extend() = std::move(request);
  }
  void Release(std::size_t number, v1::ReleaseRequest request) override {
    *Add(number).mutable_release() = std::move(request);
  }
  std::span<const Answer> Wait(Clock::time_point until) override {
    for (const std::size_t i : with_more_) Write(i);
    with_more_.clear();
    answers_.clear();
    const auto completion = completions_.Next(until);
    if (!completion) return {};
    const std::size_t i = completion->tag / kKinds;
    Stream& stream = streams_[i];
    if (!completion->ok) End(stream);
    switch (static_cast<Kind>(completion->tag % kKinds)) {
      case kStart:
        stream.io->Read(&stream.response, TagOf(i, kRead));
        stream.may_write = true;
        Write(i);
        break;
      case kWritten:
        stream.may_write = true;
        Write(i);
        break;
      case kRead:
        Take(stream.response);
        stream.response.Clear();
        stream.io->Read(&stream.response, TagOf(i, kRead));
        break;
      case kKinds:
        break;
    }
    return answers_;
  }
  [[nodiscard]] std::size_t lost() const override { return lost_; }

 private:
  enum Kind : std::size_t { kStart, kWritten, kRead, kKinds };
  struct Stream {
    explicit Stream(const std::string& address) : stub(Connect(address)) {}

    v1::LockService::Stub stub;
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientAsyncReaderWriter<v1::SessionRequest, v1::SessionResponse>> io;
    std::deque<v1::SessionRequest> pending;
    v1::SessionRequest writing;
    v1::SessionResponse response;
    bool may_write = false;
  };
  static void* TagOf(std::size_t stream, Kind kind) { return Tag(stream * kKinds + kind); }

  v1::SessionOperation& Add(std::size_t number) {
    const std::size_t i = number % streams_.size();
    Stream& stream = streams_[i];
    if (stream.pending.empty()) with_more_.push_back(i);
    if (stream.pending.empty() || stream.pending.back().operations_size() == kMostOperations) {
      stream.pending.emplace_back();
    }
    v1::SessionOperation& operation = *stream.pending.back().add_operations();
    operation.set_id(number);
    return operation;
  }
  void Write(std::size_t i) {
    Stream& stream = streams_[i];
    if (!stream.may_write || stream.pending.empty()) return;
    stream.may_write = false;
    stream.writing.Swap(&stream.pending.front());
    stream.pending.pop_front();
    stream.io->Write(stream.writing, TagOf(i, kWritten));
  }
  void Take(v1::SessionResponse& response) {
    for (v1::SessionResult& result : *response.mutable_results()) {
      Answer& answer = answers_.emplace_back(
          Answer{.number = result.id(), .reason = result.status().reason(), .lease = {}});
      answer.lease.Swap(result.mutable_lease());
    }
    for (const v1::WatchResponse& event : response.events()) {
      if (event.type() == v1::EVENT_TYPE_LOST) ++lost_;
    }
  }
  // The status arrives after what is still under way.
  [[noreturn]] void End(Stream& stream) {
    grpc::Status status;
    const std::size_t finished = std::numeric_limits<std::size_t>::max();
    stream.io->Finish(&status, Tag(finished));
    const auto give_up = Clock::now() + std::chrono::seconds(5);
    while (Clock::now() < give_up) {
      const auto completion = completions_.Next(give_up);
      if (completion && completion->tag == finished) break;
    }
    throw std::runtime_error("a Session has ended: " + status.error_message());
  }

  std::deque<Stream> streams_;
  std::vector<std::size_t> with_more_;  // streams whose pending messages may have to be written
  std::vector<Answer> answers_;
  std::size_t lost_ = 0;
  Completions completions_;  // last: it is drained before the streams are destroyed
};

}  // namespace

std::unique_ptr<RpcCalls> UnaryCalls(const std::string& address) {
  return std::make_unique<Unary>(address);
}
std::unique_ptr<RpcCalls> SessionCalls(const std::string& address, std::size_t sessions) {
  return std::make_unique<Sessions>(address, sessions);
}

}  // namespace redlock::bench
