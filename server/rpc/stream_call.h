// A call of any kind, handled as a stream of messages. Serves everything except the unary calls
// that must be fast. The method names follow gRPC's callback reactors.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "server/rpc/call_log.h"
#include "server/rpc/completion.h"
#include "server/rpc/poller.h"

namespace redlock::rpc {

class StreamCall;

// gRPC's state of an accepted call.
struct AcceptedCall {
  struct Done final : Completion {
    void On(bool ok) override;
    StreamCall* call = nullptr;
  };

  AcceptedCall(Poller& by, std::size_t most) : poller(by), most_bytes(most) {}

  Poller& poller;
  const std::size_t most_bytes;  // of an unpacked message
  grpc::GenericServerContext context;
  grpc::GenericServerAsyncReaderWriter io{&context};
  Done done;
};

// Allows one read and one write at a time. The virtual functions are called on the strand of one
// shard. StartRead() and Later() may be called from them only; StartWrite() and Finish() may be
// called from any thread, but not concurrently. Keeps itself alive until gRPC has returned its last
// completion.
class StreamCall : public std::enable_shared_from_this<StreamCall> {
 public:
  // Starts the call, which owns itself from then on.
  static void Run(const std::shared_ptr<StreamCall>& call);
  virtual ~StreamCall() = default;
  StreamCall(const StreamCall&) = delete;
  StreamCall& operator=(const StreamCall&) = delete;

 protected:
  explicit StreamCall(std::unique_ptr<AcceptedCall> accepted) : accepted_(std::move(accepted)) {}

  void StartRead();
  // Handles the rest of a message: at once, or in the stream's next turn (see Poller::Do). Call
  // before the next StartRead().
  void Later(std::function<void()> rest);
  // Reports how many operations of a message were handled, if it can have many.
  void CountOperations(int operations) { accepted_->poller.CountOperations(this, operations); }
  void StartWrite(const grpc::ByteBuffer& message);
  // Call once. A cancelled call must be finished too.
  void Finish(const grpc::Status& status);
  // Writes the message and finishes the call with OK.
  void FinishWith(const grpc::ByteBuffer& message);
  [[nodiscard]] const grpc::GenericServerContext& context() const { return accepted_->context; }
  // The loop on whose strand the virtual functions are called.
  [[nodiscard]] EventLoop& loop() { return accepted_->poller.loop(); }
  // Sets what the call is about, for the log. Call before anything can end the call.
  void SetSubject(Key subject) { subject_ = std::move(subject); }
  // Sets who the caller is, for the log. Call before anything else can be logged.
  void Identify(std::string identity) { log_.Identify(std::move(identity)); }
  [[nodiscard]] const CallLog& log() const { return log_; }

  virtual void Begin() = 0;
  virtual void OnRead(const grpc::ByteBuffer& message) = 0;
  // The client sends no more messages, or the call has ended.
  virtual void OnReadsEnded() = 0;
  virtual void OnWritten(bool /*ok*/) {}
  // The client cancelled or disconnected, its deadline has passed, or the server is shutting down.
  virtual void OnCancelled() {}
  // The last call of a virtual function.
  virtual void OnEnded() {}

 private:
  friend AcceptedCall::Done;

  void LogEnd(const grpc::Status& status);
  void Read(bool ok);
  void Written(bool ok);
  void Finished(bool ok);
  void Done();
  void Ended();

  const std::unique_ptr<AcceptedCall> accepted_;
  CallLog log_;
  Key subject_;
  grpc::ByteBuffer incoming_;
  CompletionOf<StreamCall, &StreamCall::Read> read_{*this};
  CompletionOf<StreamCall, &StreamCall::Written> written_{*this};
  CompletionOf<StreamCall, &StreamCall::Finished> finished_{*this};
  // The completions that gRPC has yet to return: at first, those of the end of the call and of
  // Finish().
  std::atomic<int> owed_ = 2;
  std::shared_ptr<StreamCall> self_;
};

// The methods by path, "/package.Service/Method".
using Routes =
    std::unordered_map<std::string,
                       std::function<std::shared_ptr<StreamCall>(std::unique_ptr<AcceptedCall>)>>;

// Accepts calls until the server shuts down. Messages may have up to `most_bytes`. The other
// arguments must outlive the poller.
void AcceptStreams(grpc::AsyncGenericService& service, Poller& poller, const Routes& routes,
                   std::size_t most_bytes);

}  // namespace redlock::rpc
