#include "server/redis/tls_transport.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <signal.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace redlock::redis {
namespace {

std::string LastError() {
  const unsigned long error = ERR_get_error();
  const char* const reason = ERR_reason_error_string(error);
  ERR_clear_error();
  return reason != nullptr ? reason : std::generic_category().message(errno);
}

void Check(bool ok, const std::string& what) {
  if (!ok) throw std::runtime_error(what + ": " + LastError());
}

bool IsNumeric(const std::string& host) {
  in6_addr ignored{};
  return inet_pton(AF_INET, host.c_str(), &ignored) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &ignored) == 1;
}

}  // namespace

TlsContext MakeTlsContext(const TlsOptions& options) {
  // OpenSSL writes to sockets with write(), so a broken connection would raise SIGPIPE and end the
  // process.
  signal(SIGPIPE, SIG_IGN);
  TlsContext context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  Check(context != nullptr, "cannot create a TLS context");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  // After a partial write, the rest may be written from another buffer.
  SSL_CTX_set_mode(context.get(),
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (options.ca_file.empty()) {
    Check(SSL_CTX_set_default_verify_paths(context.get()) == 1,
          "cannot load the system's CA certificates");
  } else {
    Check(SSL_CTX_load_verify_file(context.get(), options.ca_file.c_str()) == 1,
          "cannot load the CA file " + options.ca_file);
  }
  if (!options.cert_file.empty()) {
    Check(SSL_CTX_use_certificate_chain_file(context.get(), options.cert_file.c_str()) == 1,
          "cannot load the certificate file " + options.cert_file);
    Check(
        SSL_CTX_use_PrivateKey_file(context.get(), options.key_file.c_str(), SSL_FILETYPE_PEM) == 1,
        "cannot load the key file " + options.key_file);
  }
  return context;
}

TlsTransport::TlsTransport(EventLoop& loop, const Endpoint& endpoint, SSL_CTX& context,
                           Listener& listener)
    : SocketTransport(loop, endpoint, listener), host_(endpoint.host), ssl_(SSL_new(&context)) {}

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
