#include "client/cpp/src/watch_stream.h"

#include <utility>

#include "client/cpp/src/translation.h"

namespace redlock::client {

std::shared_ptr<WatchStream> WatchStream::Open(v1::LockService::Stub& stub,
                                               const std::string& bearer_token,
                                               const OpenWatch& watch, Events events) {
  std::shared_ptr<WatchStream> stream(new WatchStream(std::move(events)));
  stream->self_ = stream;
  stream->request_ = ToProto(watch);
  if (!bearer_token.empty()) {
    stream->context_.AddMetadata("authorization", "Bearer " + bearer_token);
  }
  stub.async()->Watch(&stream->context_, &stream->request_, stream.get());
  stream->StartRead(&stream->incoming_);
  stream->StartCall();
  return stream;
}

void WatchStream::OnReadDone(bool ok) {
  if (!ok) return;
  events_.message(incoming_);
  StartRead(&incoming_);
}

void WatchStream::OnDone(const grpc::Status& status) {
  const Events events = std::move(events_);
  events.ended(status);
  self_.reset();  // may delete this
  events.gone();
}

}  // namespace redlock::client
