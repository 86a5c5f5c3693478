// The terminal of `redlockctl run`: which process group may read from it and gets its signals.
#pragma once

#include <sys/types.h>

namespace redlockctl {

// SIGTTOU must be blocked in the calling thread. const functions are async-signal-safe.
class Terminal {
 public:
  // Opens the controlling terminal, if there is one.
  Terminal();
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  [[nodiscard]] bool exists() const { return fd_ >= 0; }
  // Whether the group of the process that made this object is in the foreground.
  [[nodiscard]] bool IsOurs() const { return IsAt(own_group_); }
  // Whether the group is in the foreground.
  [[nodiscard]] bool IsAt(pid_t group) const;
  // Hands the terminal to `group` if it is ours. Returns whether it was.
  bool Give(pid_t group) const;
  // Hands the terminal back if `group` has it. Returns whether it had it.
  bool TakeBack(pid_t group) const;

 private:
  const int fd_;
  const pid_t own_group_;
};

}  // namespace redlockctl
