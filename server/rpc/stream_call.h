// A call of any shape, as a stream of messages; everything but the unary calls that have to be
// fast. The verbs are those of gRPC's callback reactors.
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

// What gRPC has of a call.
struct AcceptedCall {
  struct Done final : Completion {
    void On(bool ok) override;
    StreamCall* call = nullptr;
  };

  explicit AcceptedCall(Poller& by) : poller(by) {}

  Poller& poller;
  grpc::GenericServerContext context;
  grpc::GenericServerAsyncReaderWriter io{&context};
  Done done;
};

// One reading and one writing at a time. StartWrite() and Finish() from any thread, but not at the
// same time; StartRead() from where things are told; what is told comes in turns of one shard. Kept
// alive by itself until gRPC has let go of it.
class StreamCall : public std::enable_shared_from_this<StreamCall> {
 public:
  // Owns itself from here on.
  static void Run(const std::shared_ptr<StreamCall>& call);
  virtual ~StreamCall() = default;
  StreamCall(const StreamCall&) = delete;
  StreamCall& operator=(const StreamCall&) = delete;

 protected:
  explicit StreamCall(std::unique_ptr<AcceptedCall> accepted) : accepted_(std::move(accepted)) {}

  void StartRead();
  // The rest of what a message asks for, with a look at other calls in between. From where things
  // are told, before the next StartRead().
  void Later(std::function<void()> rest);
  void StartWrite(const grpc::ByteBuffer& message);
  // Once. The call has to be finished after a cancellation too.
  void Finish(const grpc::Status& status);
  // Both in one.
  void FinishWith(const grpc::ByteBuffer& message);
  [[nodiscard]] const grpc::GenericServerContext& context() const { return accepted_->context; }
  // In whose turns everything is reported.
  [[nodiscard]] EventLoop& loop() { return accepted_->poller.loop(); }
  // What the call is about, for the log; before anything can end it.
  void SetSubject(std::string subject) { subject_ = std::move(subject); }
  [[nodiscard]] const CallLog& log() const { return log_; }

  virtual void Begin() = 0;
  virtual void OnRead(const grpc::ByteBuffer& message) = 0;
  // The client will send no more, or has gone.
  virtual void OnReadsEnded() = 0;
  virtual void OnWritten(bool /*ok*/) {}
  // The client has gone, its deadline has passed, or the server is shutting down.
  virtual void OnCancelled() {}
  // Nothing follows.
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
  const CallLog log_;
  std::string subject_;
  grpc::ByteBuffer incoming_;
  CompletionOf<StreamCall, &StreamCall::Read> read_{*this};
  CompletionOf<StreamCall, &StreamCall::Written> written_{*this};
  CompletionOf<StreamCall, &StreamCall::Finished> finished_{*this};
  // What gRPC will yet hand back: its word that the call is over, and that it was finished.
  std::atomic<int> owed_ = 2;
  std::shared_ptr<StreamCall> self_;
};

// Methods by path, "/package.Service/Method".
using Routes =
    std::unordered_map<std::string,
                       std::function<std::shared_ptr<StreamCall>(std::unique_ptr<AcceptedCall>)>>;

// Accepts calls for as long as the server takes any. All must outlive the poller.
void AcceptStreams(grpc::AsyncGenericService& service, Poller& poller, const Routes& routes);

}  // namespace redlock::rpc
