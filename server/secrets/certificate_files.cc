#include "server/secrets/certificate_files.h"

#include <openssl/ssl.h>

#include <stdexcept>
#include <utility>

namespace redlock::secrets {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 20;  // a bundle of CAs may be large

// Calls `read` with the path of each file that is set, and adds the option to its errors.
template <typename Read>
Pem ReadEach(const CertificatePaths& paths, Read read) {
  const auto one = [&read](const FileOption& file, std::string Pem::*part) {
    if (file.path.empty()) return std::string();
    try {
      return read(file.path, part);
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(file.flag + " " + file.path + ": " + error.what());
    }
  };
  return {.certificate = one(paths.certificate, &Pem::certificate),
          .key = one(paths.key, &Pem::key),
          .ca = one(paths.ca, &Pem::ca)};
}

}  // namespace

CertificateFiles::CertificateFiles(CertificatePaths paths, Uses uses, Install install)
    : paths_(std::move(paths)), uses_(std::move(uses)), install_(std::move(install)) {
  Pem pem = ReadEach(paths_, [](const std::string& path, std::string Pem::* /*part*/) {
    return ReadFile(path, kMaxBytes);
  });
  const Loaded loaded = Check(pem);
  Use(std::move(pem), loaded);
}

Loaded CertificateFiles::Check(const Pem& pem) const {
  const SslContext context(SSL_CTX_new(TLS_method()), SSL_CTX_free);
  if (!context) throw std::runtime_error("OpenSSL cannot create a TLS context");
  return Load(*context, pem, paths_);
}

Pem CertificateFiles::ReadAgain() const {
  return ReadEach(paths_, [this](const std::string& path, std::string Pem::*part) {
    return ReadFileAgain(path, kMaxBytes).value_or(in_use_.*part);
  });
}

void CertificateFiles::Use(Pem pem, const Loaded& loaded) {
  install_(pem);
  in_use_ = std::move(pem);
  seen_.reset();
  const MutexLock lock(mutex_);
  loaded_ = loaded;
}

Renewal CertificateFiles::Renew(Pem pem) {
  if (pem == in_use_) return Renewal::kNone;
  const Loaded loaded = Check(pem);
  const auto now =
      std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now());
  if (const std::string why = WhyUnusable(loaded, paths_, now); !why.empty()) {
    throw std::runtime_error(why);
  }
  Use(std::move(pem), loaded);
  return Renewal::kRenewed;
}

Renewal CertificateFiles::Reload() { return Renew(ReadAgain()); }

Renewal CertificateFiles::Look() {
  Pem pem = ReadAgain();
  if (pem == in_use_ || pem == seen_) return Renew(std::move(pem));
  seen_ = std::move(pem);
  return Renewal::kPending;
}

std::vector<CertificateInUse> CertificateFiles::certificates() const {
  const MutexLock lock(mutex_);
  std::vector<CertificateInUse> certificates;
  if (loaded_.certificate) {
    certificates.push_back({uses_.certificate, paths_.certificate, *loaded_.certificate});
  }
  if (loaded_.ca) certificates.push_back({uses_.ca, paths_.ca, *loaded_.ca});
  return certificates;
}

}  // namespace redlock::secrets
