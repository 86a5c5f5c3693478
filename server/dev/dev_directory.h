// The directory for the private Redis servers of `redlockd --dev`.
#pragma once

#include <filesystem>

namespace redlock::dev {

// A new directory in that for temporary files. The destructor removes it. If the daemon is killed,
// the next one removes it: a daemon that lives holds a lock on a file in its directory.
class DevDirectory {
 public:
  // Removes the directories that killed daemons of this user left. Throws std::runtime_error if no
  // directory can be created.
  DevDirectory();
  ~DevDirectory();
  DevDirectory(const DevDirectory&) = delete;
  DevDirectory& operator=(const DevDirectory&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int lock_ = -1;
};

}  // namespace redlock::dev
