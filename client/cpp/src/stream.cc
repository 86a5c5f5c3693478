#include "client/cpp/src/stream.h"

#include <utility>

namespace redlock::client {

std::shared_ptr<Stream> Stream::Open(v1::LockService::Stub& stub, const std::string& bearer_token,
                                     Events events) {
  std::shared_ptr<Stream> stream(new Stream(std::move(events)));
  stream->self_ = stream;
  if (!bearer_token.empty()) {
    stream->context_.AddMetadata("authorization", "Bearer " + bearer_token);
  }
  stub.async()->Session(&stream->context_, stream.get());
  stream->AddHold();
  stream->StartRead(&stream->incoming_);
  stream->StartCall();
  return stream;
}

void Stream::Write(v1::SessionRequest request) {
  if (!Use()) return;
  outgoing_ = std::move(request);
  StartWrite(&outgoing_);
  Unuse();
}

void Stream::OnReadDone(bool ok) {
  if (!ok) {
    Unuse();
    return;
  }
  events_.message(incoming_);
  incoming_ = {};  // Clear() would keep the memory of the largest message
  StartRead(&incoming_);
}

void Stream::OnWriteDone(bool ok) {
  if (ok) events_.written();
}

void Stream::OnDone(const grpc::Status& status) {
  const Events events = std::move(events_);
  events.ended(status);
  self_.reset();  // may delete this
  events.gone();
}

bool Stream::Use() {
  int users = users_;
  while (users > 0 && !users_.compare_exchange_weak(users, users + 1)) {
  }
  return users > 0;
}

void Stream::Unuse() {
  if (--users_ == 0) RemoveHold();
}

}  // namespace redlock::client
