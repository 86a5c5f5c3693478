#include "server/redis/node_tls.h"

#include <openssl/ssl.h>
#include <signal.h>

#include <stdexcept>

namespace redlock::redis {

NodeTls::NodeTls(const TlsOptions& options)
    : paths_{.certificate = {"--redis-tls-cert", options.cert_file},
             .key = {"--redis-tls-key", options.key_file},
             .ca = {"--redis-tls-ca", options.ca_file}},
      files_(paths_, {.certificate = "node-client", .ca = "node-ca"},
             [this](const secrets::Pem& pem) { Install(pem); }) {
  // OpenSSL writes to sockets with write(), so a broken connection would raise SIGPIPE and end the
  // process.
  signal(SIGPIPE, SIG_IGN);
}

TlsContext NodeTls::context() const {
  const MutexLock lock(mutex_);
  return context_;
}

void NodeTls::Install(const secrets::Pem& pem) {
  TlsContext context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  if (!context) throw std::runtime_error("OpenSSL cannot create a TLS context");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  // After a partial write, the rest may be written from another buffer.
  SSL_CTX_set_mode(context.get(),
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (paths_.ca.path.empty() && SSL_CTX_set_default_verify_paths(context.get()) != 1) {
    throw std::runtime_error("cannot load the system's CA certificates; set --redis-tls-ca");
  }
  (void)secrets::Load(*context, pem, paths_);
  const MutexLock lock(mutex_);
  context_ = std::move(context);
}

}  // namespace redlock::redis
