#include "server/rpc/stream_call.h"

#include <string_view>
#include <utility>

#include "server/rpc/compression.h"

namespace redlock::rpc {
namespace {

class UnknownCall final : public StreamCall {
 public:
  explicit UnknownCall(std::unique_ptr<AcceptedCall> accepted) : StreamCall(std::move(accepted)) {}

 private:
  void Begin() override {
    Finish({grpc::StatusCode::UNIMPLEMENTED, "unknown method " + context().method()});
  }
  void OnRead(const grpc::ByteBuffer& /*message*/) override {}
  void OnReadsEnded() override {}
};

// Accepts one call after the other.
class CallAcceptor final : public Completion {
 public:
  CallAcceptor(grpc::AsyncGenericService& service, Poller& poller, const Routes& routes,
               std::size_t most_bytes)
      : service_(service), poller_(poller), routes_(routes), most_bytes_(most_bytes) {
    Wait();
  }

  void On(bool ok) override {
    if (!ok) {  // the server is shutting down
      delete this;
      return;
    }
    auto accepted = std::move(waiting_);
    Wait();
    const auto route = routes_.find(accepted->context.method());
    StreamCall::Run(route == routes_.end() ? std::make_shared<UnknownCall>(std::move(accepted))
                                           : route->second(std::move(accepted)));
  }

 private:
  void Wait() {
    waiting_ = std::make_unique<AcceptedCall>(poller_, most_bytes_);
    waiting_->context.AsyncNotifyWhenDone(&waiting_->done);
    service_.RequestCall(&waiting_->context, &waiting_->io, &poller_.queue(), &poller_.queue(),
                         this);
  }

  grpc::AsyncGenericService& service_;
  Poller& poller_;
  const Routes& routes_;
  const std::size_t most_bytes_;
  std::unique_ptr<AcceptedCall> waiting_;
};

}  // namespace

void AcceptedCall::Done::On(bool /*ok*/) { call->Done(); }

void StreamCall::Run(const std::shared_ptr<StreamCall>& call) {
  call->self_ = call;
  call->accepted_->poller.OnCallBegun();
  call->accepted_->done.call = call.get();
  call->Begin();
}

void StreamCall::StartRead() {
  ++owed_;
  accepted_->poller.Do(this, [this] { accepted_->io.Read(&incoming_, &read_); });
}

void StreamCall::Later(std::function<void()> rest) {
  ++owed_;
  accepted_->poller.Do(this, [this, rest = std::move(rest)] {
    rest();
    Ended();
  });
}

void StreamCall::StartWrite(const grpc::ByteBuffer& message) {
  ++owed_;
  accepted_->io.Write(message, &written_);
}

void StreamCall::LogEnd(const grpc::Status& status) {
  const std::string& path = accepted_->context.method();  // "/package.Service/Method"
  log_.Ended(accepted_->context, std::string_view(path).substr(path.rfind('/') + 1), subject_,
             status);
}

void StreamCall::Finish(const grpc::Status& status) {
  LogEnd(status);
  accepted_->io.Finish(status, &finished_);
}

void StreamCall::FinishWith(const grpc::ByteBuffer& message) {
  LogEnd(grpc::Status::OK);
  accepted_->io.WriteAndFinish(message, {}, grpc::Status::OK, &finished_);
}

void StreamCall::Read(bool ok) {
  if (ok) {
    Unpack(incoming_, accepted_->most_bytes);
    OnRead(incoming_);
  } else {
    OnReadsEnded();
  }
  Ended();
}

void StreamCall::Written(bool ok) {
  OnWritten(ok);
  Ended();
}

void StreamCall::Finished(bool /*ok*/) { Ended(); }

void StreamCall::Done() {
  if (accepted_->context.IsCancelled()) OnCancelled();
  Ended();
}

void StreamCall::Ended() {
  if (--owed_ > 0) return;
  OnEnded();
  accepted_->poller.OnCallEnded();
  self_.reset();  // deletes this, unless a shard still holds it
}

void AcceptStreams(grpc::AsyncGenericService& service, Poller& poller, const Routes& routes,
                   std::size_t most_bytes) {
  constexpr int kAtOnce = 16;  // accepted before the first is processed
  for (int i = 0; i < kAtOnce; ++i) new CallAcceptor(service, poller, routes, most_bytes);
}

}  // namespace redlock::rpc
