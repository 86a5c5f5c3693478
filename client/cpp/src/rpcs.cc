// Driver: unary calls, Watch and Observe streams.
#include <utility>

#include "client/cpp/src/connect_failure.h"
#include "client/cpp/src/diagnosis.h"
#include "client/cpp/src/driver.h"
#include "client/cpp/src/translation.h"

namespace redlock::client {
namespace {

// Whether no other daemon and no later attempt can help.
bool IsFinal(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::UNIMPLEMENTED:
      return true;
    default:
      return false;
  }
}

}  // namespace

const std::string& Driver::RenewedToken() {
  BearerToken& token = endpoints_->token();
  token.Renew();
  return token.value();
}

UnaryAnswer Driver::ToAnswer(const grpc::Status& status, std::size_t endpoint) const {
  const std::string& name = endpoints_->name(endpoint);
  const bool sent = !IsConnectFailure(status.error_message());
  std::string words = Diagnose(status, name, options_, {});
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) words = "no answer in time";
  UnaryAnswer answer = client::ToAnswer(status, name, words, sent);
  answer.connected = endpoints_->connected(endpoint);
  return answer;
}

// Close() waits for the last `gone` before it resets endpoints_, which the other events use.
void Driver::CarryOut(const SendCall& effect) {
  const std::pair key(effect.call, effect.attempt);
  {
    const std::lock_guard lock(mutex_);
    unary_calls_[key] = {};
  }
  const auto self = shared_from_this();
  auto call = UnaryCall::Start(
      endpoints_->stub(effect.endpoint), RenewedToken(), effect,
      {.ended =
           [self, key, endpoint = effect.endpoint](const grpc::Status& status, Answer answer) {
             const UnaryAnswer ended = status.ok() ? UnaryAnswer{.answer = std::move(answer)}
                                                   : self->ToAnswer(status, endpoint);
             self->Do([&](Machine& /*machine*/) {
               self->calls_.OnAnswer(key.first, key.second, ended);
             });
             self->Disown(self->unary_calls_, key);
           },
       .gone = [self, key] { self->Forget(self->unary_calls_, key); }});
  Own(unary_calls_, key, std::move(call));
}

void Driver::CarryOut(const CancelCall& effect) { CancelAll(unary_calls_, effect.call); }

void Driver::CarryOut(const OpenWatch& effect) {
  const std::pair key(effect.watch, effect.attempt);
  {
    const std::lock_guard lock(mutex_);
    watch_streams_[key] = {};
  }
  const auto self = shared_from_this();
  auto stream = WatchStream::Open(
      [async = endpoints_->stub(effect.endpoint).async()](auto... arguments) {
        async->Watch(arguments...);
      },
      RenewedToken(), ToProto(effect),
      {.message =
           [self, key](const v1::WatchResponse& message) {
             const std::optional<Event> event = ToEvent(message);
             if (!event) return;
             self->Do([&](Machine& /*machine*/) {
               self->watches_.OnEvent(key.first, key.second, *event);
             });
           },
       .ended =
           [self, key, endpoint = effect.endpoint](const grpc::Status& status) {
             std::optional<Error> why;
             if (!status.ok()) why = self->ToAnswer(status, endpoint).answer.error;
             self->Do(
                 [&](Machine& /*machine*/) { self->watches_.OnEnded(key.first, key.second, why); });
             self->Disown(self->watch_streams_, key);
           },
       .gone = [self, key] { self->Forget(self->watch_streams_, key); }});
  Own(watch_streams_, key, std::move(stream));
}

void Driver::CarryOut(const CancelWatch& effect) { CancelAll(watch_streams_, effect.watch); }

void Driver::CarryOut(const OpenObserve& effect) {
  const std::pair key(effect.observer, effect.attempt);
  {
    const std::lock_guard lock(mutex_);
    observe_streams_[key] = {};
  }
  const auto self = shared_from_this();
  auto stream = ObserveStream::Open(
      [async = endpoints_->stub(effect.endpoint).async()](auto... arguments) {
        async->Observe(arguments...);
      },
      RenewedToken(), ToProto(effect),
      {.message =
           [self, key](const v1::ObserveResponse& message) {
             KeyState state = ToKeyState(message);
             self->Do([&](Machine& /*machine*/) {
               self->observers_.OnState(key.first, key.second, std::move(state));
             });
           },
       .ended =
           [self, key, endpoint = effect.endpoint](const grpc::Status& status) {
             Error why = *self->ToAnswer(status, endpoint).answer.error;
             if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
               why.reason = Reason::kInternal;
               why.message += "; this daemon is too old for observers: upgrade it";
             }
             self->Do([&](Machine& /*machine*/) {
               self->observers_.OnEnded(key.first, key.second, why, IsFinal(status));
             });
             self->Disown(self->observe_streams_, key);
           },
       .gone = [self, key] { self->Forget(self->observe_streams_, key); }});
  Own(observe_streams_, key, std::move(stream));
}

void Driver::CarryOut(const CancelObserve& effect) { CancelAll(observe_streams_, effect.observer); }

template <typename Rpc>
void Driver::Own(Rpcs<Rpc>& rpcs, const typename Rpcs<Rpc>::key_type& key,
                 std::shared_ptr<Rpc> rpc) {
  const std::lock_guard lock(mutex_);
  const auto found = rpcs.find(key);
  if (found != rpcs.end() && !found->second.ended) found->second.rpc = std::move(rpc);
}

template <typename Rpc>
void Driver::Disown(Rpcs<Rpc>& rpcs, const typename Rpcs<Rpc>::key_type& key) {
  std::shared_ptr<Rpc> rpc;  // destroyed without the mutex
  const std::lock_guard lock(mutex_);
  rpcs.at(key).ended = true;
  rpc = std::move(rpcs.at(key).rpc);
}

template <typename Rpc>
void Driver::Forget(Rpcs<Rpc>& rpcs, const typename Rpcs<Rpc>::key_type& key) {
  const std::lock_guard lock(mutex_);
  rpcs.erase(key);
  changed_.notify_all();
}

template <typename Rpc>
void Driver::CancelAll(Rpcs<Rpc>& rpcs, std::uint64_t id) {
  std::vector<std::shared_ptr<Rpc>> cancelled;
  {
    const std::lock_guard lock(mutex_);
    for (auto each = rpcs.lower_bound({id, 0}); each != rpcs.end() && each->first.first == id;
         ++each) {
      if (each->second.rpc) cancelled.push_back(each->second.rpc);
    }
  }
  for (const auto& rpc : cancelled) rpc->Cancel();
}

}  // namespace redlock::client
