// TLS over a socket, by OpenSSL.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "server/redis/socket_transport.h"

namespace redlock::redis {

class TlsTransport final : public SocketTransport {
 public:
  TlsTransport(EventLoop& loop, const Endpoint& endpoint, SSL_CTX& context, Listener& listener);

  [[nodiscard]] std::size_t Write(std::string_view data) override;

 protected:
  void OnOpen() override;
  void OnEvents(FdWatcher::Events events) override;

 private:
  struct Free {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };

  void ShakeHands();
  // Waits for what OpenSSL needs, or fails. This may be gone afterwards.
  void WaitFor(int result);

  const std::string host_;
  std::unique_ptr<SSL, Free> ssl_;
  bool shaken_ = false;
  bool held_back_ = false;  // the listener waits to write
};

}  // namespace redlock::redis
