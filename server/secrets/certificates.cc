#include "server/secrets/certificates.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <stdexcept>

namespace redlock::secrets {
namespace {

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using Certificate = std::unique_ptr<X509, Free>;
using Key = std::unique_ptr<EVP_PKEY, Free>;

[[noreturn]] void Fail(const FileOption& file, const std::string& what) {
  ERR_clear_error();
  throw std::runtime_error(file.flag + " " + file.path + ": " + what);
}

// OpenSSL's reason for the last failure, in parentheses; empty if it has none.
std::string Reason() {
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  return reason != nullptr ? " (" + std::string(reason) + ")" : "";
}

// OpenSSL would ask for a passphrase on the terminal.
int NoPassphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*data*/) { return -1; }

std::unique_ptr<BIO, Free> Memory(const std::string& text) {
  return std::unique_ptr<BIO, Free>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::vector<Certificate> ParseCertificates(const std::string& text, const FileOption& file) {
  const auto memory = Memory(text);
  std::vector<Certificate> certificates;
  ERR_clear_error();
  while (X509* const next = PEM_read_bio_X509(memory.get(), nullptr, NoPassphrase, nullptr)) {
    certificates.emplace_back(next);
  }
  if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
    Fail(file, "a certificate in it is damaged or incomplete" + Reason());
  }
  ERR_clear_error();
  if (certificates.empty()) Fail(file, "contains no certificate in PEM format");
  return certificates;
}

Key ParseKey(const std::string& text, const FileOption& file) {
  const auto memory = Memory(text);
  Key key(PEM_read_bio_PrivateKey(memory.get(), nullptr, NoPassphrase, nullptr));
  if (!key) {
    Fail(file, text.find("ENCRYPTED") != std::string::npos
                   ? "the private key is encrypted; redlockd needs one without a passphrase"
                   : "contains no private key in PEM format");
  }
  return key;
}

WallSeconds At(const ASN1_TIME* time) {
  std::tm parts{};
  // X.509 requires dates that this can read. A broken one counts as long past.
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return WallSeconds(std::chrono::seconds(timegm(&parts)));
}

Validity ValidityOf(const X509* certificate) {
  return {At(X509_get0_notBefore(certificate)), At(X509_get0_notAfter(certificate))};
}

WallSeconds Now() {
  return std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now());
}

// See Loaded::ca.
Validity NextToExpire(const std::vector<Certificate>& cas) {
  const WallSeconds now = Now();
  Validity next = ValidityOf(cas.front().get());
  for (const Certificate& ca : cas) {
    const Validity validity = ValidityOf(ca.get());
    const bool sooner = next.until <= now ? validity.until > next.until
                                          : validity.until > now && validity.until < next.until;
    if (sooner) next = validity;
  }
  return next;
}

Validity LoadPair(SSL_CTX& context, const Pem& pem, const CertificatePaths& paths) {
  auto chain = ParseCertificates(pem.certificate, paths.certificate);
  const Key key = ParseKey(pem.key, paths.key);
  if (X509_check_private_key(chain.front().get(), key.get()) != 1) {
    Fail(paths.key, "does not match " + paths.certificate.flag + " " + paths.certificate.path);
  }
  if (SSL_CTX_use_certificate(&context, chain.front().get()) != 1) {
    Fail(paths.certificate, "OpenSSL refuses the certificate" + Reason());
  }
  for (std::size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(&context, chain[i].get()) != 1) {
      Fail(paths.certificate, "OpenSSL refuses an intermediate certificate" + Reason());
    }
  }
  if (SSL_CTX_use_PrivateKey(&context, key.get()) != 1) {
    Fail(paths.key, "OpenSSL refuses the private key" + Reason());
  }
  return ValidityOf(chain.front().get());
}

Validity LoadCas(SSL_CTX& context, const Pem& pem, const CertificatePaths& paths) {
  const auto cas = ParseCertificates(pem.ca, paths.ca);
  X509_STORE* const store = SSL_CTX_get_cert_store(&context);
  for (const Certificate& ca : cas) {
    if (X509_STORE_add_cert(store, ca.get()) != 1) {
      Fail(paths.ca, "OpenSSL refuses a certificate" + Reason());
    }
  }
  return NextToExpire(cas);
}

}  // namespace

Loaded Load(SSL_CTX& context, const Pem& pem, const CertificatePaths& paths) {
  Loaded loaded;
  if (!paths.certificate.path.empty()) loaded.certificate = LoadPair(context, pem, paths);
  if (!paths.ca.path.empty()) loaded.ca = LoadCas(context, pem, paths);
  return loaded;
}

std::string WhyUnusable(const Loaded& loaded, const CertificatePaths& paths, WallSeconds now) {
  const auto check = [now](const std::optional<Validity>& validity, const FileOption& file,
                           const std::string& subject) -> std::string {
    if (!validity) return "";
    const std::string start = file.flag + " " + file.path + ": " + subject;
    if (validity->until <= now) return start + " expired on " + InWords(validity->until);
    if (validity->from > now) return start + " is not valid before " + InWords(validity->from);
    return "";
  };
  const std::string why = check(loaded.certificate, paths.certificate, "the certificate");
  return why.empty() ? check(loaded.ca, paths.ca, "the CA certificate") : why;
}

std::string InWords(WallSeconds time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  (void)std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text.data();
}

}  // namespace redlock::secrets
