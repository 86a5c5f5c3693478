#include "server/redis/transport.h"

#include "server/redis/socket_transport.h"
#include "server/redis/tls_transport.h"

namespace redlock::redis {

std::unique_ptr<Transport> OpenTransport(EventLoop& loop, const Endpoint& endpoint,
                                         const TlsContext& tls, std::size_t attempt,
                                         Transport::Listener& listener) {
  switch (endpoint.kind) {
    case Endpoint::Kind::kTcp:
    case Endpoint::Kind::kUnix:
      return std::make_unique<SocketTransport>(loop, endpoint, attempt, listener);
    case Endpoint::Kind::kTls:
      return std::make_unique<TlsTransport>(loop, endpoint, *tls, attempt, listener);
  }
  return nullptr;
}

}  // namespace redlock::redis
