#include "client/cpp/src/tls_probe.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <array>
#include <ctime>
#include <memory>

#include "client/cpp/src/timed_socket.h"

namespace redlock::client {
namespace {

template <auto Free>
struct Freeing {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Context = std::unique_ptr<SSL_CTX, Freeing<SSL_CTX_free>>;
using Connection = std::unique_ptr<SSL, Freeing<SSL_free>>;

std::string TextOf(const ASN1_TIME* time) {
  tm parts{};
  std::array<char, 32> text{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return "an unknown time";
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts)};
}

std::string IssuerOf(const X509* certificate) {
  std::array<char, 256> text{};
  X509_NAME_oneline(X509_get_issuer_name(certificate), text.data(), text.size());
  return text.data();
}

std::string WordsFor(int error, int depth, const X509* certificate) {
  const std::string which =
      depth == 0 ? "the server's TLS certificate" : "a CA certificate of the server";
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return which + " expired on " + TextOf(X509_get0_notAfter(certificate)) + ": renew it";
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return which + " is not valid before " + TextOf(X509_get0_notBefore(certificate)) +
             ": check the clocks";
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return "a CA that the client does not trust issued the server's TLS certificate (issuer: " +
             IssuerOf(certificate) + ")";
    default:
      return which + " is not valid: " + X509_verify_cert_error_string(error);
  }
}

// Records the first problem of the server's certificates, and lets the handshake continue.
int OnVerified(int valid, X509_STORE_CTX* store) {
  if (valid == 1) return 1;
  const auto* const ssl =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto& probe = *static_cast<TlsProbe*>(SSL_get_app_data(ssl));
  if (probe.problem.empty()) {
    probe.problem = WordsFor(X509_STORE_CTX_get_error(store), X509_STORE_CTX_get_error_depth(store),
                             X509_STORE_CTX_get_current_cert(store));
  }
  return 1;
}

Context MakeContext(const Options& options) {
  Context context(SSL_CTX_new(TLS_client_method()));
  if (!context) return nullptr;
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, OnVerified);
  if (options.ca_file.empty()) {
    SSL_CTX_set_default_verify_paths(context.get());
  } else {
    SSL_CTX_load_verify_locations(context.get(), options.ca_file.c_str(), nullptr);
  }
  if (!options.certificate_file.empty()) {
    SSL_CTX_use_certificate_chain_file(context.get(), options.certificate_file.c_str());
    SSL_CTX_use_PrivateKey_file(context.get(), options.key_file.c_str(), SSL_FILETYPE_PEM);
  }
  constexpr std::array<unsigned char, 3> kProtocols = {2, 'h', '2'};
  SSL_CTX_set_alpn_protos(context.get(), kProtocols.data(), kProtocols.size());
  return context;
}

// Memory buffers instead of OpenSSL's sockets, which have no deadline and may raise SIGPIPE.

bool Flush(SSL& ssl, TimedSocket& socket) {
  std::array<char, 4096> buffer{};
  int size = 0;
  while ((size = BIO_read(SSL_get_wbio(&ssl), buffer.data(), buffer.size())) > 0) {
    if (!socket.Send(buffer.data(), static_cast<std::size_t>(size))) return false;
  }
  return true;
}

bool Receive(SSL& ssl, TimedSocket& socket) {
  std::array<char, 4096> buffer{};
  const ssize_t size = socket.Receive(buffer.data(), buffer.size());
  return size > 0 && BIO_write(SSL_get_rbio(&ssl), buffer.data(), static_cast<int>(size)) > 0;
}

// Repeats `step` until it succeeds or fails, or the server is silent. Returns OpenSSL's reason for
// the failure; 0: none.
template <typename Step>
int Drive(SSL& ssl, TimedSocket& socket, Step step) {
  while (true) {
    const int result = step();
    if (!Flush(ssl, socket) || result > 0) return 0;
    if (SSL_get_error(&ssl, result) != SSL_ERROR_WANT_READ) {
      return ERR_GET_REASON(ERR_peek_error());
    }
    if (!Receive(ssl, socket)) return 0;
  }
}

// The words for an alert, with which the server refused the client.
std::string WordsForAlert(int reason) {
  switch (reason) {
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
      return "the server requires a client certificate";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
      return "the server refused the client certificate: it has expired";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
      return "the server refused the client certificate: it does not trust the CA that issued it";
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
      return "the server refused the client certificate";
    default:
      return {};
  }
}

}  // namespace

TlsProbe ProbeTls(const std::string& address, const std::string& host, const Options& options,
                  Duration patience) {
  TlsProbe probe;
  TimedSocket socket(std::chrono::steady_clock::now() + patience);
  const Context context = MakeContext(options);
  if (!context || !socket.Connect(address)) return probe;
  const Connection connection(SSL_new(context.get()));
  SSL& ssl = *connection;
  SSL_set_bio(&ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_app_data(&ssl, &probe);
  if (!host.empty()) SSL_set_tlsext_host_name(&ssl, host.c_str());
  SSL_set_connect_state(&ssl);
  ERR_clear_error();
  int reason = Drive(ssl, socket, [&] { return SSL_do_handshake(&ssl); });
  probe.speaks_tls = SSL_is_init_finished(&ssl) == 1 || reason > SSL_AD_REASON_OFFSET;
  const bool uses_tls = options.tls || !options.ca_file.empty();
  if (uses_tls && probe.problem.empty() && SSL_is_init_finished(&ssl) == 1) {
    // With TLS 1.3, the server refuses the client's certificate after the handshake. Otherwise it
    // sends its SETTINGS.
    char byte = 0;
    reason = Drive(ssl, socket, [&] { return SSL_read(&ssl, &byte, 1); });
  }
  ERR_clear_error();
  if (probe.problem.empty()) probe.problem = WordsForAlert(reason);
  return probe;
}

}  // namespace redlock::client
