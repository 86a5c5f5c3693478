// A password in the first line of a file. The file is read again whenever the password is needed,
// so a rotated password is used without a restart.
#pragma once

#include <string>

#include "server/secrets/files.h"
#include "server/sync/mutex.h"

namespace redlock::secrets {

// Thread-safe. The file is small and local, so an event loop may read it.
class PasswordFile {
 public:
  // Reads the file. Throws std::runtime_error, which names the file, if it has no password.
  explicit PasswordFile(std::string path);
  PasswordFile(const PasswordFile&) = delete;
  PasswordFile& operator=(const PasswordFile&) = delete;

  // Reads the file and returns its password; while that is impossible, the last one that was read.
  [[nodiscard]] std::string Password();

  // Reads the file and throws as the constructor does. The last password then stays in use.
  Renewal Reload();

 private:
  const std::string path_;
  Mutex mutex_;
  std::string last_ REDLOCK_GUARDED_BY(mutex_);
};

}  // namespace redlock::secrets
