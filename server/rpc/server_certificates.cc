#include "server/rpc/server_certificates.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace redlock::rpc {
namespace {

constexpr unsigned int kLookSeconds = 1;  // the shortest interval of gRPC

int NewFile() {
  const int fd = memfd_create("redlockd-certificates", MFD_CLOEXEC);
  if (fd < 0 || fchmod(fd, S_IRUSR) != 0) {
    throw std::system_error(errno, std::generic_category(), "memfd_create");
  }
  return fd;
}

}  // namespace

ServerCertificates::MemoryFile::MemoryFile() : fd_(NewFile()) {}

ServerCertificates::MemoryFile::~MemoryFile() { close(fd_); }

void ServerCertificates::MemoryFile::Replace(const std::string& content) {
  const int fresh = NewFile();
  const ssize_t written = write(fresh, content.data(), content.size());
  const bool replaced =
      written == static_cast<ssize_t>(content.size()) && dup3(fresh, fd_, O_CLOEXEC) == fd_;
  const int error = errno;
  close(fresh);
  if (!replaced)
    throw std::system_error(error, std::generic_category(), "cannot copy certificates");
}

ServerCertificates::ServerCertificates(const config::Config& config) try
    : files_({.certificate = {"--tls-cert", config.tls_cert},
              .key = {"--tls-key", config.tls_key},
              .ca = {"--tls-client-ca", config.tls_client_ca}},
             {.certificate = "grpc", .ca = "grpc-client-ca"}, [this](const secrets::Pem& pem) {
               certificate_.Replace(pem.certificate);
               key_.Replace(pem.key);
               ca_.Replace(pem.ca);
             }) {
} catch (const std::runtime_error& error) {
  throw config::ConfigError(error.what());
}

std::shared_ptr<grpc::experimental::CertificateProviderInterface> ServerCertificates::provider()
    const {
  return std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      key_.path(), certificate_.path(), mutual() ? ca_.path() : "", kLookSeconds);
}

}  // namespace redlock::rpc
