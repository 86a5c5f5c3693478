// One unary call: parses and checks the request, carries it out on the strand of the key's shard,
// and answers.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/async_unary_call.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "server/rpc/call_log.h"
#include "server/rpc/caller.h"
#include "server/rpc/completion.h"
#include "server/rpc/compression.h"
#include "server/rpc/lease_audit.h"
#include "server/rpc/lock_service.h"
#include "server/rpc/message.h"
#include "server/rpc/poller.h"

namespace redlock::rpc {

// Method is a type with
//   Request, Response, Command: the messages, and the command of the core;
//   kMethod: the name of the method;
//   kAccess: the verb that the access list must allow;
//   Await(service, ...): asks gRPC for the next call of this method;
//   Start(Shard&, Command, optional<Duration> until_deadline, call) -> what to cancel, or null:
//     starts the operation. Called on the shard's strand. Must have call->Answer() called there
//     exactly once.
// A call keeps itself alive until gRPC has returned its last completion. Work for the shard shares
// ownership of the call.
template <typename Method>
class UnaryCall final : public WaitingCall, public std::enable_shared_from_this<UnaryCall<Method>> {
 public:
  // Waits for one call, and then for the next, until the server shuts down.
  static void Await(const ServiceContext& service, RawLockService& methods, Poller& poller) {
    const auto call = std::make_shared<UnaryCall>(service, methods, poller);
    call->self_ = call;
    call->context_.AsyncNotifyWhenDone(&call->done_);
    Method::Await(methods, &call->context_, &call->request_, &call->writer_, &poller.queue(),
                  &poller.queue(), &call->accepted_);
  }

  UnaryCall(const ServiceContext& service, RawLockService& methods, Poller& poller)
      : service_(service), methods_(methods), poller_(poller) {}

  // On the shard's strand.
  void Recheck() override {
    if (!operation_) return;
    refusal_ = caller_->RefusalOf(Method::kAccess, key_);
    if (refusal_) operation_->Cancel(Reason::kCancelled);
  }

  // On the shard's strand.
  void Answer(grpc::Status status) {
    if (place_) calls_->Remove(*std::exchange(place_, std::nullopt));
    if (refusal_) status = ToStatus(*refusal_);
    log_->Ended(context_, Method::kMethod, key_, status);
    operation_.reset();  // on this strand, because the call may be destroyed on another one
    if (status.ok()) {
      writer_.Finish(Serialize(method_.response), status, &finished_);
    } else {
      writer_.FinishWithError(status, &finished_);
    }
  }
  [[nodiscard]] Method& method() { return method_; }
  [[nodiscard]] bool IsAudited() const { return service_.audit_log != nullptr; }
  // Null unless the call is audited.
  [[nodiscard]] std::shared_ptr<LeaseAudit> Audit() const {
    return LeaseAudit::Of(service_.audit_log, context_, *log_, caller_->identity());
  }
  [[nodiscard]] const NodeNames& names() const { return service_.names; }
  [[nodiscard]] const std::string& daemon() const { return service_.daemon; }

 private:
  void Accepted(bool ok) {
    if (!ok) {  // the server is shutting down
      self_.reset();
      return;
    }
    poller_.OnCallBegun();
    log_.emplace();
    Await(service_, methods_, poller_);
    if (HasTooMuchMetadata(context_)) {
      Answer(ToStatus(Refusal::kTooMuchMetadata));
      return;
    }
    caller_ = Caller::Of(service_.access, context_);
    if (!caller_) {
      Answer(ToStatus(Refusal::kUnauthenticated));
      return;
    }
    log_->Identify(caller_->identity());
    Unpack(request_, service_.max_message_bytes);
    auto checked = ParseAndCheck<typename Method::Request>(request_, service_.rules());
    if (auto* faults = std::get_if<Violations>(&checked)) {
      Answer(ToStatus(*faults));
      return;
    }
    auto command = std::get<typename Method::Command>(std::move(checked));
    key_ = command.key;
    if constexpr (requires { command.source; }) command.source = caller_->source();
    if constexpr (requires { command.owner; }) {
      command.owner.origin = caller_->OriginAt(service_.daemon, context_);
    }
    const std::size_t shard = service_.shards.IndexFor(command.key);
    thread_ = service_.shards.shards()[shard].get();
    calls_ = &service_.waiting_calls[shard];
    thread_->Do([self = self_, command = std::move(command)](Shard& core) mutable {
      self->Start(core, std::move(command));
    });
  }

  // Checks the permission on the strand on which Recheck() is called, so that no change is missed.
  void Start(Shard& shard, typename Method::Command command) {
    if (const auto refusal = caller_->RefusalOf(Method::kAccess, key_)) {
      Answer(ToStatus(*refusal));
      return;
    }
    service_.connections.Prove(context_.peer());
    operation_ = method_.Start(shard, std::move(command), UntilDeadline(context_.deadline()),
                               this->shared_from_this());
    if (operation_ && service_.access.asks()) place_ = calls_->Add(this->weak_from_this());
  }

  void Done(bool /*ok*/) {
    if (thread_ != nullptr && context_.IsCancelled()) {
      thread_->Do([self = self_](Shard&) { self->OnCancelled(); });
    }
    Ended();
  }

  // Does nothing once the answer has been handed to gRPC, because the caller may have received it.
  void OnCancelled() {
    if (!operation_) return;
    // gRPC reports a passed deadline as a cancellation too.
    const auto left = UntilDeadline(context_.deadline());
    const bool late = left && *left <= Duration::zero();
    operation_->Cancel(late ? Reason::kDeadlineExceeded : Reason::kCancelled);
  }

  void Finished(bool /*ok*/) { Ended(); }

  void Ended() {
    if (--owed_ > 0) return;
    poller_.OnCallEnded();
    self_.reset();  // deletes this unless the shard still holds it
  }

  const ServiceContext& service_;
  RawLockService& methods_;
  Poller& poller_;
  grpc::ServerContext context_;
  grpc::ByteBuffer request_;
  grpc::ServerAsyncResponseWriter<grpc::ByteBuffer> writer_{&context_};
  CompletionOf<UnaryCall, &UnaryCall::Accepted> accepted_{*this};
  CompletionOf<UnaryCall, &UnaryCall::Done> done_{*this};
  CompletionOf<UnaryCall, &UnaryCall::Finished> finished_{*this};
  // The completions that gRPC has yet to return: those of the end of the call and of the answer.
  std::atomic<int> owed_ = 2;
  std::optional<CallLog> log_;  // set when the call is accepted
  std::optional<Caller> caller_;
  Key key_;
  runtime::ShardThread* thread_ = nullptr;
  WaitingCalls* calls_ = nullptr;  // of the key's shard
  std::shared_ptr<UnaryCall> self_;

  // On the strand of the key's shard.
  Method method_;
  std::shared_ptr<Cancellable> operation_;  // until it is answered
  std::optional<WaitingCalls::Place> place_;
  std::optional<Refusal> refusal_;  // replaces the answer
};

}  // namespace redlock::rpc
