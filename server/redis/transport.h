// A byte stream to a node over TCP, TLS or a Unix socket.
#pragma once

#include <openssl/types.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "server/loop/event_loop.h"
#include "server/redis/endpoint.h"

namespace redlock::redis {

// The destructor closes the stream. The listener is not called afterwards.
class Transport {
 public:
  // Receives the events of a transport. Its methods are never called inside a call to the
  // transport, and may destroy the transport.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void OnConnected() = 0;
    // `data` is valid during the call only.
    virtual void OnData(std::string_view data) = 0;
    // The stream accepts data again, after a Write() that did not accept all.
    virtual void OnWritable() = 0;
    // The stream could not be opened, or it has ended. No further event follows.
    virtual void OnClosed(std::string why) = 0;
  };

  virtual ~Transport() = default;
  // Returns the number of bytes that the stream accepted. If it did not accept all, OnWritable()
  // or OnClosed() follows. May be called between OnConnected() and OnClosed().
  [[nodiscard]] virtual std::size_t Write(std::string_view data) = 0;
};

// How nodes' certificates are verified, and the certificate that the daemon presents. Shared by all
// connections.
using TlsContext = std::shared_ptr<SSL_CTX>;

// Throws std::runtime_error, which names the file, if a file cannot be used.
[[nodiscard]] TlsContext MakeTlsContext(const TlsOptions& options);

// Begins to connect. `tls` is needed for Kind::kTls only. Must be called on the loop's strand, as
// must all methods of the transport.
[[nodiscard]] std::unique_ptr<Transport> OpenTransport(EventLoop& loop, const Endpoint& endpoint,
                                                       const TlsContext& tls,
                                                       Transport::Listener& listener);

}  // namespace redlock::redis
