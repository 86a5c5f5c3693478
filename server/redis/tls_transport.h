// TLS over a socket, using OpenSSL.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "server/redis/socket_transport.h"

namespace redlock::redis {

class TlsTransport final : public SocketTransport {
 public:
  TlsTransport(EventLoop& loop, const Endpoint& endpoint, SSL_CTX& context, std::size_t attempt,
               Listener& listener);

  [[nodiscard]] std::size_t Write(std::string_view data) override;

 protected:
  void OnOpen() override;
  void OnEvents(FdWatcher::Events events) override;

 private:
  struct Free {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };

  void ShakeHands();
  // Waits for the event that OpenSSL needs, or fails. May destroy this.
  void WaitFor(int result);

  const std::string host_;
  std::unique_ptr<SSL, Free> ssl_;
  bool shaken_ = false;
  bool held_back_ = false;  // the listener is waiting for OnWritable()
};

}  // namespace redlock::redis
