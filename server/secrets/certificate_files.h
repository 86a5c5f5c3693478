// Renews the certificates of one side of TLS: takes over changed files once they are complete and
// usable, and keeps the previous ones otherwise.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "server/secrets/certificates.h"
#include "server/secrets/files.h"
#include "server/sync/mutex.h"

namespace redlock::secrets {

// A certificate in use, for metrics and warnings.
struct CertificateInUse {
  std::string use;  // "grpc", "grpc-client-ca", "node-client", "node-ca"
  FileOption file;
  Validity validity;
};

// Reload() and Look() belong to one thread; certificates() may be called from any.
class CertificateFiles {
 public:
  struct Uses {
    std::string certificate;
    std::string ca;
  };
  // Puts checked content to use. If it throws, the previous content stays in use.
  using Install = std::function<void(const Pem&)>;

  // Reads, checks and installs the files. Throws std::runtime_error as Load() does. An expired
  // certificate is accepted here, because refusing it would not make another one available.
  CertificateFiles(CertificatePaths paths, Uses uses, Install install);
  CertificateFiles(const CertificateFiles&) = delete;
  CertificateFiles& operator=(const CertificateFiles&) = delete;

  // Installs what the files contain now. Throws std::runtime_error, which names the file and the
  // fault, if it cannot be used or has expired; the previous content then stays in use.
  Renewal Reload();
  // The same for a regular look. Ignores a change until it finds the same content twice, because a
  // certificate and its key are written one after the other.
  Renewal Look();

  [[nodiscard]] const CertificatePaths& paths() const { return paths_; }
  [[nodiscard]] std::vector<CertificateInUse> certificates() const;

 private:
  [[nodiscard]] Loaded Check(const Pem& pem) const;
  [[nodiscard]] Pem ReadAgain() const;
  void Use(Pem pem, const Loaded& loaded);
  Renewal Renew(Pem pem);

  const CertificatePaths paths_;
  const Uses uses_;
  const Install install_;
  Pem in_use_;
  std::optional<Pem> seen_;  // the change that a look has found
  mutable Mutex mutex_;
  Loaded loaded_ REDLOCK_GUARDED_BY(mutex_);
};

}  // namespace redlock::secrets
