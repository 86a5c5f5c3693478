// TLS to the nodes: makes the context for new connections, and renews it when its files change.
#pragma once

#include "server/redis/endpoint.h"
#include "server/redis/transport.h"
#include "server/secrets/certificate_files.h"
#include "server/sync/mutex.h"

namespace redlock::redis {

// context() may be called from any thread; for files(), see CertificateFiles.
class NodeTls {
 public:
  // Throws std::runtime_error, which names the file, if a file cannot be used.
  explicit NodeTls(const TlsOptions& options);

  // The context for a connection that begins now. Living connections keep theirs.
  [[nodiscard]] TlsContext context() const;

  [[nodiscard]] secrets::CertificateFiles& files() { return files_; }

 private:
  void Install(const secrets::Pem& pem);

  mutable Mutex mutex_;
  TlsContext context_ REDLOCK_GUARDED_BY(mutex_);
  const secrets::CertificatePaths paths_;
  secrets::CertificateFiles files_;  // calls Install()
};

}  // namespace redlock::redis
