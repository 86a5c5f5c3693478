// One unary call: parse, check, post to the key's shard, answer.
#pragma once

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/server_callback.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include "server/rpc/lock_service.h"

namespace redlock::rpc {

// What is left until the caller's deadline, if it set one.
[[nodiscard]] inline std::optional<Duration> UntilDeadline(
    std::chrono::system_clock::time_point deadline) {
  if (deadline == std::chrono::system_clock::time_point::max()) return std::nullopt;
  return deadline - std::chrono::system_clock::now();
}

// Verb is a type with
//   Request, Response, Command: the messages and what the core takes;
//   Start(Shard&, Command, optional<Duration> until_deadline, call) -> what cancels it, or null:
//     runs on the shard's thread and has call->Answer() called there, exactly once.
//   Abandoned(Shard&): runs on the shard's thread when the caller never got its answer.
// gRPC owns a call until OnDone; work posted to the shard shares it.
template <typename Verb>
class UnaryCall final : public grpc::ServerUnaryReactor {
 public:
  using Self = std::shared_ptr<UnaryCall>;

  static grpc::ServerUnaryReactor* Start(const ServiceContext& service,
                                         grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer& request,
                                         grpc::ByteBuffer* response) {
    auto* const call = new UnaryCall(service, context, response);
    call->self_.reset(call);
    call->Begin(request);
    return call;
  }

  // On the shard's thread.
  void Answer(const grpc::Status& status) {
    operation_.reset();  // here, because this call may end on one of gRPC's threads
    if (status.ok()) {
      bool own_buffer = false;
      (void)grpc::GenericSerialize<grpc::ProtoBufferWriter, typename Verb::Response>(
          verb_.response, response_, &own_buffer);
    }
    Finish(status);
  }
  [[nodiscard]] Verb& verb() { return verb_; }
  [[nodiscard]] const NodeNames& names() const { return service_.names; }

  void OnCancel() override {
    if (thread_ == nullptr) return;
    thread_->Post([self = self_](Shard&) {
      // The core's own timer tells a deadline; what reaches it from here counts as cancelled.
      const auto left = UntilDeadline(self->deadline_);
      const bool late = left && *left <= Duration::zero();
      if (self->operation_) {
        self->operation_->Cancel(late ? Reason::kDeadlineExceeded : Reason::kCancelled);
      }
    });
  }

  void OnDone() override {
    if (thread_ != nullptr && context_->IsCancelled()) {
      thread_->Post([self = self_](Shard& shard) { self->verb_.Abandoned(shard); });
    }
    self_.reset();  // deletes this, unless the shard still holds it
  }

 private:
  UnaryCall(const ServiceContext& service, grpc::CallbackServerContext* context,
            grpc::ByteBuffer* response)
      : service_(service), context_(context), deadline_(context->deadline()), response_(response) {}

  void Begin(const grpc::ByteBuffer& buffer) {
    typename Verb::Request request;
    if (Violations faults = ParseMessage(buffer, request); !faults.empty()) {
      Finish(ToStatus(faults));
      return;
    }
    auto checked = Check(request, service_.rules);
    if (auto* faults = std::get_if<Violations>(&checked)) {
      Finish(ToStatus(*faults));
      return;
    }
    auto command = std::get<typename Verb::Command>(std::move(checked));
    thread_ = &service_.shards.For(command.key);
    thread_->Post([self = self_, command = std::move(command),
                   deadline = UntilDeadline(deadline_)](Shard& shard) mutable {
      self->operation_ = self->verb_.Start(shard, std::move(command), deadline, self);
    });
  }

  const ServiceContext& service_;
  grpc::CallbackServerContext* const context_;  // gone after OnDone: not for the shard's thread
  const std::chrono::system_clock::time_point deadline_;
  grpc::ByteBuffer* const response_;
  runtime::ShardThread* thread_ = nullptr;
  Verb verb_;
  std::shared_ptr<Operation> operation_;  // on the shard's thread only
  Self self_;
};

}  // namespace redlock::rpc
