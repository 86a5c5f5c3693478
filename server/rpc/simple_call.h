// A unary call that need not be fast: reads its request and is answered once.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "server/rpc/message.h"
#include "server/rpc/stream_call.h"

namespace redlock::rpc {

// Whether a call is served.
struct Admission {
  grpc::Status status;   // OK, or what the call is refused with
  std::string identity;  // the caller's, for the log; empty if it is unknown
};

template <typename Request, typename Response>
class SimpleCall final : public StreamCall {
 public:
  // Answers the call. From any thread, once.
  using Answer = std::function<void(const grpc::Status& status, const Response& response)>;
  using Handler = std::function<void(const grpc::ServerContextBase& context, const CallLog& log,
                                     const Request& request, Answer answer)>;

  // Called when the call arrives, and again when its request has arrived, because the permission
  // may have ended in the meantime.
  using Admit = std::function<Admission(const grpc::ServerContextBase& context)>;

  // Both must outlive the server.
  SimpleCall(std::unique_ptr<AcceptedCall> accepted, const Admit& admit, const Handler& handler)
      : StreamCall(std::move(accepted)), admit_(admit), handler_(handler) {}

  // Returns an entry for Routes.
  static auto Route(Admit admit, Handler handler) {
    return [admit = std::move(admit),
            handler = std::move(handler)](std::unique_ptr<AcceptedCall> accepted) {
      return std::make_shared<SimpleCall>(std::move(accepted), admit, handler);
    };
  }

 private:
  void Begin() override {
    Admission admission = admit_(context());
    Identify(std::move(admission.identity));
    if (admission.status.ok()) {
      StartRead();
    } else {
      Finish(admission.status);
    }
  }

  void OnRead(const grpc::ByteBuffer& message) override {
    if (const Admission admission = admit_(context()); !admission.status.ok()) {
      Finish(admission.status);
      return;
    }
    Request request;
    if (!Parse(message, request)) {
      Finish({grpc::StatusCode::INVALID_ARGUMENT, "the request is not a valid message"});
      return;
    }
    handler_(context(), log(), request,
             [self = std::static_pointer_cast<SimpleCall>(shared_from_this())](
                 const grpc::Status& status, const Response& response) {
               if (status.ok()) {
                 self->FinishWith(Serialize(response));
               } else {
                 self->Finish(status);
               }
             });
  }

  void OnReadsEnded() override {
    Finish({grpc::StatusCode::INVALID_ARGUMENT, "the request is missing"});
  }

  const Admit& admit_;
  const Handler& handler_;
};

}  // namespace redlock::rpc
