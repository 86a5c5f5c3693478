// The directory for the private Redis servers of `redlockd --dev`.
#pragma once

#include <filesystem>

namespace redlock::dev {

// A new temporary directory, which the destructor removes. A running daemon holds a lock on a file
// in its directory, so that the next daemon can tell which directories killed daemons left behind,
// and remove them.
class DevDirectory {
 public:
  // Removes the directories that killed daemons of this user left behind. Throws
  // std::runtime_error if no directory can be created.
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
