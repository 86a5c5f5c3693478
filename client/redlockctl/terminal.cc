#include "client/redlockctl/terminal.h"

#include <fcntl.h>
#include <unistd.h>

namespace redlockctl {

Terminal::Terminal()
    : fd_(open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)), own_group_(getpgrp()) {}

Terminal::~Terminal() {
  if (exists()) close(fd_);
}

bool Terminal::IsAt(pid_t group) const { return exists() && tcgetpgrp(fd_) == group; }

bool Terminal::Give(pid_t group) const { return IsOurs() && tcsetpgrp(fd_, group) == 0; }

bool Terminal::TakeBack(pid_t group) const {
  return IsAt(group) && tcsetpgrp(fd_, own_group_) == 0;
}

}  // namespace redlockctl
