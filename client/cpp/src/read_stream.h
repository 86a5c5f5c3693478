// One server stream from one daemon: a Watch or an Observe.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "proto/redlock/v1/lock_service.grpc.pb.h"

namespace redlock::client {

// Keeps itself alive until it has ended. gRPC's threads call the events, one at a time; `ended`
// and `gone` come last.
template <typename Request, typename Response>
class ReadStream final : public grpc::ClientReadReactor<Response> {
 public:
  struct Events {
    std::function<void(const Response& message)> message;
    std::function<void(const grpc::Status& status)> ended;
    // Called after `ended`, when gRPC no longer uses the stream. By then the object is destroyed,
    // unless it has another owner.
    std::function<void()> gone;
  };

  // `method` is one of the async stub.
  static std::shared_ptr<ReadStream> Open(auto method, const std::string& bearer_token,
                                          Request request, Events events) {
    std::shared_ptr<ReadStream> stream(new ReadStream(std::move(events)));
    stream->self_ = stream;
    stream->request_ = std::move(request);
    if (!bearer_token.empty()) {
      stream->context_.AddMetadata("authorization", "Bearer " + bearer_token);
    }
    method(&stream->context_, &stream->request_, stream.get());
    stream->StartRead(&stream->incoming_);
    stream->StartCall();
    return stream;
  }
  // Callable from any thread.
  void Cancel() { context_.TryCancel(); }

 private:
  explicit ReadStream(Events events) : events_(std::move(events)) {}

  void OnReadDone(bool ok) override {
    if (!ok) return;
    events_.message(incoming_);
    this->StartRead(&incoming_);
  }

  void OnDone(const grpc::Status& status) override {
    const Events events = std::move(events_);
    events.ended(status);
    self_.reset();  // may delete this
    events.gone();
  }

  grpc::ClientContext context_;
  Events events_;
  Request request_;
  Response incoming_;
  std::shared_ptr<ReadStream> self_;
};

using WatchStream = ReadStream<v1::WatchRequest, v1::WatchResponse>;
using ObserveStream = ReadStream<v1::ObserveRequest, v1::ObserveResponse>;

}  // namespace redlock::client
