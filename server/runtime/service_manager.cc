#include "server/runtime/service_manager.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "server/core/format.h"

namespace redlock::runtime {
namespace {

using std::chrono::duration_cast;
using std::chrono::microseconds;

constexpr timeval kPatience{1, 0};  // with a service manager that does not read

std::string_view Variable(const char* name) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing changes the environment
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string_view() : value;
}

// Returns a datagram socket that is connected to the path, or -1 with errno set. A path that starts
// with @ is in the abstract namespace.
int Connected(std::string_view path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if ((path[0] != '/' && path[0] != '@') || path.size() >= sizeof address.sun_path) {
    errno = EAFNOSUPPORT;
    return -1;
  }
  std::copy(path.begin(), path.end(), address.sun_path);
  if (path[0] == '@') address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience) == 0 &&
      connect(fd, reinterpret_cast<const sockaddr*>(&address), length) == 0) {
    return fd;
  }
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int Connect() {
  const std::string_view path = Variable("NOTIFY_SOCKET");
  if (path.empty()) return -1;
  const int fd = Connected(path);
  if (fd < 0) {
    spdlog::warn("cannot report to the service manager at NOTIFY_SOCKET={}: {}", path,
                 ErrorText(errno));
  }
  return fd;
}

bool Watched() {
  const std::string_view process = Variable("WATCHDOG_PID");
  return !Variable("WATCHDOG_USEC").empty() &&
         (process.empty() || process == std::to_string(getpid()));
}

}  // namespace

ServiceManager::ServiceManager() : socket_(Connect()), watched_(Watched()) {}

void ServiceManager::Ready() { Send("READY=1"); }

void ServiceManager::Reloading() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);  // systemd compares it with its own
  const auto since_boot = std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
  Send("RELOADING=1\nMONOTONIC_USEC=" +
       std::to_string(duration_cast<microseconds>(since_boot).count()));
}

void ServiceManager::Stopping(Duration most) {
  Send("STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=" +
       std::to_string(duration_cast<microseconds>(most).count()));
}

void ServiceManager::Alive(const std::string& status) {
  std::string report;
  if (status != status_) report = "STATUS=" + status;
  if (watched_) report += report.empty() ? "WATCHDOG=1" : "\nWATCHDOG=1";
  status_ = status;
  if (!report.empty()) Send(report);
}

void ServiceManager::Send(std::string_view report) {
  if (!present()) return;
  if (send(socket_.get(), report.data(), report.size(), MSG_NOSIGNAL) >= 0 || failed_) return;
  failed_ = true;
  spdlog::warn("cannot report to the service manager: {}", ErrorText(errno));
}

}  // namespace redlock::runtime
