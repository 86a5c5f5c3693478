// The certificate of the gRPC service, and the CAs of its clients' certificates. Gives gRPC only
// content that has been checked.
#pragma once

#include <grpcpp/security/tls_certificate_provider.h>

#include <array>
#include <memory>
#include <string>

#include "server/config/config.h"
#include "server/secrets/certificate_files.h"

namespace redlock::rpc {

// gRPC has one provider whose certificates can change: it reads files regularly, and a bad pair
// makes it refuse every handshake. So it gets files in memory, which this writes.
class ServerCertificates {
 public:
  // Throws config::ConfigError, which names the file, if a file cannot be used.
  explicit ServerCertificates(const config::Config& config);

  // Must not outlive this. Takes over new certificates within a second.
  [[nodiscard]] std::shared_ptr<grpc::experimental::CertificateProviderInterface> provider() const;
  // Whether clients must present a certificate.
  [[nodiscard]] bool mutual() const { return !files_.paths().ca.path.empty(); }

  [[nodiscard]] secrets::CertificateFiles& files() { return files_; }

 private:
  // A file without a name that no other user can open. Its path stays the same when its content is
  // replaced, which is atomic.
  class MemoryFile {
   public:
    MemoryFile();
    ~MemoryFile();
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;
    void Replace(const std::string& content);
    [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

   private:
    const int fd_;
  };

  MemoryFile certificate_;
  MemoryFile key_;
  MemoryFile ca_;
  secrets::CertificateFiles files_;
};

}  // namespace redlock::rpc
