#include "client/cpp/src/unary_call.h"

#include <utility>

#include "client/cpp/core/overloaded.h"
#include "client/cpp/src/translation.h"

namespace redlock::client {
namespace {

Answer AnswerOf(const v1::AcquireResponse& response) { return {.grant = ToGrant(response)}; }
Answer AnswerOf(const v1::ExtendResponse& response) { return {.grant = ToGrant(response.lease())}; }
Answer AnswerOf(const v1::ReleaseResponse& /*response*/) { return {}; }
Answer AnswerOf(const v1::ProclaimResponse& /*response*/) { return {}; }

template <typename Request, typename Response>
class Exchange final : public UnaryCall {
 public:
  // `method` is one of the async stub.
  static std::shared_ptr<UnaryCall> Start(auto method, const std::string& bearer_token,
                                          std::optional<Duration> timeout, Request request,
                                          Events events) {
    auto call = std::make_shared<Exchange>();
    if (!bearer_token.empty()) {
      call->context_.AddMetadata("authorization", "Bearer " + bearer_token);
    }
    if (timeout) {
      call->context_.set_deadline(
          std::chrono::system_clock::now() +
          std::chrono::duration_cast<std::chrono::system_clock::duration>(*timeout));
    }
    call->request_ = std::move(request);
    call->self_ = call;
    method(&call->context_, &call->request_, &call->response_,
           [raw = call.get(), events = std::move(events)](const grpc::Status& status) {
             auto self = std::exchange(raw->self_, nullptr);
             events.ended(status, status.ok() ? AnswerOf(raw->response_) : Answer{});
             self.reset();  // may delete the call
             events.gone();
           });
    return call;
  }

 private:
  Request request_;
  Response response_;
};

}  // namespace

std::shared_ptr<UnaryCall> UnaryCall::Start(v1::LockService::Stub& stub,
                                            const std::string& bearer_token, const SendCall& call,
                                            Events events) {
  auto* const async = stub.async();
  return std::visit(Overloaded{
                        [&](const AcquireRequest& request) {
                          return Exchange<v1::AcquireRequest, v1::AcquireResponse>::Start(
                              [async](auto... arguments) { async->Acquire(arguments...); },
                              bearer_token, call.timeout, ToProto(request), std::move(events));
                        },
                        [&](const ExtendRequest& request) {
                          return Exchange<v1::ExtendRequest, v1::ExtendResponse>::Start(
                              [async](auto... arguments) { async->Extend(arguments...); },
                              bearer_token, call.timeout, ToProto(request), std::move(events));
                        },
                        [&](const ReleaseRequest& request) {
                          return Exchange<v1::ReleaseRequest, v1::ReleaseResponse>::Start(
                              [async](auto... arguments) { async->Release(arguments...); },
                              bearer_token, call.timeout, ToProto(request), std::move(events));
                        },
                        [&](const ProclaimRequest& request) {
                          return Exchange<v1::ProclaimRequest, v1::ProclaimResponse>::Start(
                              [async](auto... arguments) { async->Proclaim(arguments...); },
                              bearer_token, call.timeout, ToProto(request), std::move(events));
                        },
                    },
                    call.request);
}

}  // namespace redlock::client
