// Reports the state of the daemon to the service manager, which is systemd with Type=notify: each
// report is a datagram to the socket that $NOTIFY_SOCKET names, as sd_notify(3) documents.
//
// libsystemd is not used: it would be one more library in every package and image, for datagrams
// whose format systemd promises to keep.
#pragma once

#include <string>
#include <string_view>

#include "server/core/types.h"
#include "server/loop/owned_fd.h"

namespace redlock::runtime {

// Belongs to one thread. Every report does nothing if there is no service manager. A report that
// cannot be sent is logged once.
class ServiceManager {
 public:
  // Reads the environment. Logs a warning if the socket cannot be used.
  ServiceManager();

  [[nodiscard]] bool present() const { return socket_.get() >= 0; }

  // The daemon serves, or serves again after Reloading().
  void Ready();
  void Reloading();
  // The daemon ends within this time. The service manager waits that long, also if its own limit is
  // shorter.
  void Stopping(Duration most);
  // One line for people, which is sent if it differs from the last one. Also answers the watchdog,
  // if there is one: call it at least every two seconds.
  void Alive(const std::string& status);

 private:
  void Send(std::string_view report);

  OwnedFd socket_;
  bool watched_ = false;  // by a watchdog
  bool failed_ = false;
  std::string status_;
};

}  // namespace redlock::runtime
