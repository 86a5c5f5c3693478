#include "server/loop/resolver.h"

#include <netdb.h>

#include <cstring>
#include <memory>
#include <utility>

namespace redlock {

struct Resolver::Request {
  uv_getaddrinfo_t uv{};
  Done done;                      // empty once the result is no longer wanted
  std::shared_ptr<Request> self;  // keeps this alive while libuv uses it
};

Resolver::Resolver(EventLoop& loop, const std::string& host, std::uint16_t port, Done done)
    : request_(std::make_shared<Request>()) {
  request_->uv.data = request_.get();
  request_->done = std::move(done);
  request_->self = request_;
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  const auto answered = [](uv_getaddrinfo_t* uv, int status, addrinfo* found) {
    const auto request = std::move(static_cast<Request*>(uv->data)->self);
    std::vector<SocketAddress> addresses;
    for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
      SocketAddress& address = addresses.emplace_back();
      std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
      address.size = entry->ai_addrlen;
    }
    uv_freeaddrinfo(found);
    Tell(*request, std::move(addresses), status);
  };
  const int error = uv_getaddrinfo(loop.uv(), &request_->uv, answered, host.c_str(),
                                   std::to_string(port).c_str(), &hints);
  if (error >= 0) return;
  // The look-up did not start. Report it like any other failure, not inside this call.
  loop.Post([request = std::move(request_->self), error] { Tell(*request, {}, error); });
}

Resolver::~Resolver() {
  request_->done = nullptr;
  if (request_->self) uv_cancel(reinterpret_cast<uv_req_t*>(&request_->uv));
}

void Resolver::Tell(Request& request, std::vector<SocketAddress> addresses, int status) {
  const Done done = std::exchange(request.done, nullptr);
  if (done) done(std::move(addresses), status < 0 ? uv_strerror(status) : "");
}

}  // namespace redlock
