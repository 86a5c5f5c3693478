#include "server/dev/dev_directory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace redlock::dev {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPattern = "redlockd-dev-XXXXXX";
constexpr std::string_view kPrefix = kPattern.substr(0, kPattern.find('X'));
constexpr const char* kLockFile = "lock";

bool IsOwn(int fd) {
  struct stat file {};
  return fstat(fd, &file) == 0 && file.st_uid == geteuid();
}

void RemoveAbandoned(const fs::path& all) {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(all, ignored)) {
    const bool is_ours = entry.path().filename().string().starts_with(kPrefix) &&
                         entry.symlink_status(ignored).type() == fs::file_type::directory;
    if (!is_ours) continue;
    const int lock = open((entry.path() / kLockFile).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (lock < 0) continue;
    if (IsOwn(lock) && flock(lock, LOCK_EX | LOCK_NB) == 0) fs::remove_all(entry.path(), ignored);
    close(lock);
  }
}

}  // namespace

DevDirectory::DevDirectory() {
  const fs::path all = fs::temp_directory_path();
  RemoveAbandoned(all);
  // Until this daemon holds the lock, another daemon that starts may mistake the directory for an
  // abandoned one and remove it.
  while (lock_ < 0 || access((path_ / kLockFile).c_str(), F_OK) != 0) {
    if (lock_ >= 0) close(lock_);
    std::string pattern = (all / kPattern).string();
    const bool created = mkdtemp(pattern.data()) != nullptr;
    path_ = pattern;
    lock_ = created ? open((path_ / kLockFile).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (lock_ < 0 || flock(lock_, LOCK_EX) != 0) {
      throw std::runtime_error("--dev: cannot create a temporary directory: " + pattern + ": " +
                               std::generic_category().message(errno));
    }
  }
}

DevDirectory::~DevDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
  close(lock_);
}

}  // namespace redlock::dev
