#include "server/rpc/acceptor.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <system_error>

#include "server/core/format.h"
#include "server/loop/event_loop.h"
#include "server/observe/throttle.h"

namespace redlock::rpc {
namespace {

// How many connections of one socket are accepted before the other sockets are looked at.
constexpr int kMostAcceptsPerTurn = 64;
// How long to wait before accepting again after a resource was lacking, while connections wait in
// the kernel's queue. Also how often the guard looks.
constexpr int kTickMs = static_cast<int>(Millis(ConnectionGuard::kInterval));

void Warn(const std::string& address, const std::string& what) {
  observe::LogThrottled(spdlog::level::warn, "accept", address,
                        "listener " + address + ": " + what);
}

}  // namespace

Acceptor::Acceptor(std::vector<Place> places, Connections& connections, ConnectionGuard& guard)
    : places_(std::move(places)),
      connections_(connections),
      guard_(guard),
      wake_fd_(eventfd(0, EFD_CLOEXEC)),
      thread_([this] { Run(); }) {}

Acceptor::~Acceptor() {
  eventfd_write(wake_fd_, 1);
  thread_.join();
  close(wake_fd_);
}

void Acceptor::Run() {
  std::vector<pollfd> polled = {{.fd = wake_fd_, .events = POLLIN, .revents = 0}};
  std::vector<Place*> place_of = {nullptr};
  for (Place& place : places_) {
    for (const int socket : place.listening.sockets()) {
      polled.push_back({.fd = socket, .events = POLLIN, .revents = 0});
      place_of.push_back(&place);
    }
  }
  bool paused = false;
  MonotonicTime looked;
  while (true) {
    const bool guarding = connections_.size() > 0;
    // Only the descriptor that wakes this thread is polled during a pause.
    poll(polled.data(), paused ? 1 : polled.size(), paused || guarding ? kTickMs : -1);
    if (polled[0].revents != 0) return;
    paused = false;
    for (std::size_t i = 1; i < polled.size() && !paused; ++i) {
      paused = !AcceptFrom(polled[i].fd, *place_of[i]);
    }
    if (const MonotonicTime now = BootTime(); now - looked >= ConnectionGuard::kInterval) {
      looked = now;
      guard_.Look();
    }
  }
}

bool Acceptor::AcceptFrom(int socket, Place& place) {
  for (int i = 0; i < kMostAcceptsPerTurn; ++i) {
    const int fd = accept4(socket, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      const int error = errno;
      if (error == EAGAIN) return true;
      if (error != EMFILE && error != ENFILE && error != ENOBUFS && error != ENOMEM) continue;
      Warn(place.listening.address(),
           "cannot accept a connection, which waits: " + std::generic_category().message(error));
      return false;
    }
    if (!connections_.Admit(fd, BootTime())) {
      close(fd);
      Warn(place.listening.address(), "connection refused, because --max-connections is reached");
      continue;
    }
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
    parameters.listener_fd = socket;
    parameters.fd = fd;
    place.grpc->HandleNewConnection(&parameters);
  }
  return true;
}

}  // namespace redlock::rpc
