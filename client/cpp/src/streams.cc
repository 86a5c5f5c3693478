// Driver: the streams of the machine's Sessions.
#include <utility>

#include "client/cpp/src/diagnosis.h"
#include "client/cpp/src/driver.h"
#include "client/cpp/src/translation.h"

namespace redlock::client {

void Driver::CarryOut(const OpenStream& effect) {
  const SessionId session = effect.session;
  const std::string& endpoint = endpoints_->name(effect.endpoint);
  const std::string& bearer_token = RenewedToken();
  {
    const std::lock_guard lock(mutex_);
    streams_[session] = {};
  }
  const auto self = shared_from_this();
  auto stream = Stream::Open(
      endpoints_->stub(effect.endpoint), bearer_token,
      {.message =
           [self, session](const v1::SessionResponse& message) {
             const Response response = FromProto(message);
             self->Do([&](Machine& machine) { machine.OnMessage(session, response); });
           },
       .written = [self,
                   session] { self->Do([=](Machine& machine) { machine.OnWritten(session); }); },
       .ended =
           [self, session, endpoint,
            token_problem = endpoints_->token().problem()](const grpc::Status& status) {
             self->OnEnded(session, self->ToError(status, endpoint, token_problem));
           },
       .gone = [self, session] { self->OnGone(session); }});
  const std::lock_guard lock(mutex_);
  const auto found = streams_.find(session);
  if (found != streams_.end() && !found->second.ended) found->second.stream = std::move(stream);
}

void Driver::CarryOut(WriteMessage& effect) {
  if (const auto stream = StreamOf(effect.session)) stream->Write(ToProto(effect.request));
}

void Driver::CarryOut(const CancelStream& effect) {
  if (const auto stream = StreamOf(effect.session)) stream->Cancel();
}

std::shared_ptr<Stream> Driver::StreamOf(SessionId session) {
  const std::lock_guard lock(mutex_);
  const auto found = streams_.find(session);
  return found == streams_.end() ? nullptr : found->second.stream;
}

Error Driver::ToError(const grpc::Status& status, const std::string& endpoint,
                      const std::string& token_problem) const {
  Duration patience = kDiagnosisPatience;  // blocks a thread of gRPC
  {
    const std::lock_guard lock(mutex_);
    // Trying the next endpoint, or ending, is more urgent.
    if (!held_.empty() || closing_) patience = {};
  }
  Error error = client::ToError(status, endpoint, Diagnose(status, endpoint, options_, patience));
  if (error.reason == Reason::kUnauthenticated && !token_problem.empty()) {
    error.message +=
        "; the client sent an old bearer token, because of its token_file " + token_problem;
  }
  return error;
}

void Driver::OnEnded(SessionId session, Error why) {
  std::shared_ptr<Stream> stream;  // destroyed without the mutex
  {
    const std::lock_guard lock(mutex_);
    OpenedStream& opened = streams_.at(session);
    opened.ended = true;
    stream = std::move(opened.stream);
  }
  stream.reset();
  Do([&](Machine& machine) { machine.OnEnded(session, std::move(why)); });
}

void Driver::OnGone(SessionId session) {
  const std::lock_guard lock(mutex_);
  streams_.erase(session);
  changed_.notify_all();
}

}  // namespace redlock::client
