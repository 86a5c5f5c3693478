// A byte stream to a node over TCP, TLS or a Unix socket.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "server/loop/event_loop.h"
#include "server/redis/endpoint.h"
#include "server/secrets/certificates.h"

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

// How nodes' certificates are verified, and the certificate that the daemon presents.
using TlsContext = secrets::SslContext;

// Begins to connect. `tls` is needed for Kind::kTls only. `attempt` is as in Connection::Open().
// Must be called on the loop's strand, as must all methods of the transport.
[[nodiscard]] std::unique_ptr<Transport> OpenTransport(EventLoop& loop, const Endpoint& endpoint,
                                                       const TlsContext& tls, std::size_t attempt,
                                                       Transport::Listener& listener);

}  // namespace redlock::redis
