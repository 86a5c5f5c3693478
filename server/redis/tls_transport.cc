#include "server/redis/tls_transport.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <cerrno>
#include <system_error>

namespace redlock::redis {
namespace {

std::string LastError() {
  const unsigned long error = ERR_get_error();
  const char* const reason = ERR_reason_error_string(error);
  ERR_clear_error();
  return reason != nullptr ? reason : std::generic_category().message(errno);
}

bool IsNumeric(const std::string& host) {
  in6_addr ignored{};
  return inet_pton(AF_INET, host.c_str(), &ignored) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &ignored) == 1;
}

}  // namespace

TlsTransport::TlsTransport(EventLoop& loop, const Endpoint& endpoint, SSL_CTX& context,
                           std::size_t attempt, Listener& listener)
    : SocketTransport(loop, endpoint, attempt, listener),
      host_(endpoint.host),
      ssl_(SSL_new(&context)) {}

void TlsTransport::OnOpen() {
  SSL_set_fd(ssl_.get(), fd());
  if (IsNumeric(host_)) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), host_.c_str());
  } else {
    SSL_set1_host(ssl_.get(), host_.c_str());
    SSL_set_tlsext_host_name(ssl_.get(), host_.c_str());
  }
  ShakeHands();
}

void TlsTransport::ShakeHands() {
  const int result = SSL_connect(ssl_.get());
  if (result == 1) {
    shaken_ = true;
    Ready();
  } else {
    WaitFor(result);
  }
}

void TlsTransport::OnEvents(FdWatcher::Events events) {
  if (!shaken_) {
    ShakeHands();
    return;
  }
  if (events.writable && held_back_) {
    held_back_ = false;
    Want({.readable = true, .writable = false});
    listener().OnWritable();
    return;  // the listener may have destroyed this; a readable socket is reported again
  }
  const int size = SSL_read(ssl_.get(), incoming_.data(), static_cast<int>(incoming_.size()));
  if (size <= 0) {
    WaitFor(size);
    return;
  }
  // Decrypted data that stayed in OpenSSL would not make the socket readable again. None stays,
  // because the buffer is large enough for a whole record.
  listener().OnData({incoming_.data(), static_cast<std::size_t>(size)});
}

std::size_t TlsTransport::Write(std::string_view data) {
  const int size = SSL_write(ssl_.get(), data.data(), static_cast<int>(data.size()));
  const int error = size > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), size);
  ERR_clear_error();
  // The next read reports a broken connection.
  if (error == SSL_ERROR_SYSCALL || error == SSL_ERROR_SSL) return 0;
  const std::size_t taken = size > 0 ? static_cast<std::size_t>(size) : 0;
  if (taken < data.size()) {
    held_back_ = true;
    Want({.readable = true, .writable = true});
  }
  return taken;
}

void TlsTransport::WaitFor(int result) {
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      Want({.readable = true, .writable = held_back_});
      return;
    case SSL_ERROR_WANT_WRITE:
      Want({.readable = true, .writable = true});
      return;
    case SSL_ERROR_ZERO_RETURN:
      Fail("connection closed by the node");
      return;
    default:
      Fail(LastError());
      return;
  }
}

}  // namespace redlock::redis
