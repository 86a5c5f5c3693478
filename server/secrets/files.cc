#include "server/secrets/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace redlock::secrets {
namespace {

[[noreturn]] void FailToRead() {
  throw std::runtime_error("cannot read the file: " + std::generic_category().message(errno));
}

class Descriptor {
 public:
  Descriptor(const std::string& path, int flags)
      : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | flags)) {
    if (fd_ < 0) FailToRead();
  }
  ~Descriptor() { close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  const int fd_;
};

std::string ReadAll(int fd, std::size_t max_bytes) {
  std::string content;
  std::array<char, 4096> part;
  while (true) {
    const ssize_t size = read(fd, part.data(), part.size());
    if (size == 0) return content;
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) FailToRead();
    content.append(part.data(), static_cast<std::size_t>(size));
    if (content.size() > max_bytes) {
      throw std::runtime_error("the file is larger than " + std::to_string(max_bytes) + " bytes");
    }
  }
}

}  // namespace

std::string ReadFile(const std::string& path, std::size_t max_bytes) {
  return ReadAll(Descriptor(path, 0).get(), max_bytes);
}

std::optional<std::string> ReadFileAgain(const std::string& path, std::size_t max_bytes) {
  const Descriptor file(path, O_NONBLOCK);
  struct stat status {};
  if (fstat(file.get(), &status) != 0) FailToRead();
  if (S_ISDIR(status.st_mode)) throw std::runtime_error("cannot read the file: it is a directory");
  if (!S_ISREG(status.st_mode)) return std::nullopt;
  return ReadAll(file.get(), max_bytes);
}

}  // namespace redlock::secrets
