// A byte stream to a node: TCP, TLS or a unix socket.
#pragma once

#include <asio/io_context.hpp>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <system_error>

#include "server/redis/endpoint.h"

namespace asio::ssl {
class context;
}

namespace redlock::redis {

// One thread. Handlers are never called inside the call that takes them; after Close() they are
// called with an error. Buffers must live until then.
class Transport {
 public:
  using Connected = std::function<void(std::error_code)>;
  using Moved = std::function<void(std::error_code, std::size_t)>;

  virtual ~Transport() = default;
  virtual void Connect(Connected done) = 0;
  virtual void ReadSome(std::span<char> buffer, Moved done) = 0;
  virtual void WriteAll(std::string_view data, Moved done) = 0;
  virtual void Close() = 0;
};

// Throws std::system_error, naming the file, where one cannot be used. Shared by all connections.
[[nodiscard]] std::shared_ptr<asio::ssl::context> MakeTlsContext(const TlsOptions& options);

// `tls` is needed for Kind::kTls only.
[[nodiscard]] std::shared_ptr<Transport> MakeTransport(asio::io_context& io,
                                                       const Endpoint& endpoint,
                                                       std::shared_ptr<asio::ssl::context> tls);

}  // namespace redlock::redis
