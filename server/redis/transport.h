// A byte stream to a node: TCP, TLS or a unix socket.
#pragma once

#include <openssl/types.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "server/loop/event_loop.h"
#include "server/redis/endpoint.h"

namespace redlock::redis {

// Ends when it is destroyed: its listener is told nothing from then on.
class Transport {
 public:
  // Never called inside a call to the transport. May destroy it.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void OnConnected() = 0;
    // Valid during the call.
    virtual void OnData(std::string_view data) = 0;
    // There is room again for what Write() did not take.
    virtual void OnWritable() = 0;
    // Could not be opened, or has ended. Nothing follows.
    virtual void OnClosed(std::string why) = 0;
  };

  virtual ~Transport() = default;
  // Returns how much of it the stream took; where that is less, OnWritable() follows. Once
  // connected, and until it has closed.
  [[nodiscard]] virtual std::size_t Write(std::string_view data) = 0;
};

// How nodes' certificates are checked, and what this side shows. Shared by all connections.
using TlsContext = std::shared_ptr<SSL_CTX>;

// Throws std::runtime_error, naming the file, where one cannot be used.
[[nodiscard]] TlsContext MakeTlsContext(const TlsOptions& options);

// Begins to connect. `tls` is needed for Kind::kTls only. In the loop's turns, as is all that
// follows.
[[nodiscard]] std::unique_ptr<Transport> OpenTransport(EventLoop& loop, const Endpoint& endpoint,
                                                       const TlsContext& tls,
                                                       Transport::Listener& listener);

}  // namespace redlock::redis
