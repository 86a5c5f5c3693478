#include "client/cpp/testing/proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <system_error>

namespace redlock::testing::internal {
namespace {

// What a direction holds back at most; then it reads no more.
constexpr std::size_t kMostHeldBack = std::size_t{16} << 20U;

int Check(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

Proxy::Proxy(std::string socket)
    : socket_(std::move(socket)),
      listener_(Check(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket")),
      wake_(Check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  Check(bind(listener_, raw, size), "bind");
  Check(listen(listener_, SOMAXCONN), "listen");
  Check(getsockname(listener_, raw, &size), "getsockname");
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { Run(); });
}

Proxy::~Proxy() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  Wake();
  thread_.join();
  for (Connection& connection : connections_) Close(connection, false);
  close(listener_);
  close(wake_);
}

void Proxy::Wake() const {
  const std::uint64_t one = 1;
  (void)!write(wake_, &one, sizeof(one));
}

void Proxy::Delay(std::chrono::nanoseconds delay) {
  const std::lock_guard lock(mutex_);
  delay_ = std::clamp<std::chrono::nanoseconds>(delay, {}, std::chrono::hours(24));
}

void Proxy::Cut() {
  const std::lock_guard lock(mutex_);
  cut_ = true;
}

void Proxy::Mend() {
  {
    const std::lock_guard lock(mutex_);
    cut_ = false;
    delay_ = {};
    for (Connection& connection : connections_) {
      for (Pipe* const pipe : {&connection.up, &connection.down}) {
        for (Pipe::Chunk& chunk : pipe->chunks) chunk.due = {};
      }
    }
  }
  Wake();
}

void Proxy::Reset() {
  {
    const std::lock_guard lock(mutex_);
    for (Connection& connection : connections_) Close(connection, true);
    connections_.clear();
  }
  Wake();  // poll() must not look at the closed descriptors
}

void Proxy::Run() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    std::vector<pollfd> polled = {{listener_, POLLIN, 0}, {wake_, POLLIN, 0}};
    for (const Connection& connection : connections_) {
      for (const Pipe* const pipe : {&connection.up, &connection.down}) {
        const bool reads = !pipe->over && pipe->size < kMostHeldBack;
        polled.push_back({pipe->from, static_cast<short>(reads ? POLLIN : 0), 0});
      }
    }
    const int patience = Patience();
    lock.unlock();
    (void)poll(polled.data(), polled.size(), patience);
    std::uint64_t woken = 0;
    (void)!read(wake_, &woken, sizeof(woken));
    lock.lock();
    Accept();
    for (Connection& connection : connections_) {
      for (Pipe* const pipe : {&connection.up, &connection.down}) {
        Read(*pipe, connection);
        Write(*pipe, connection);
      }
      if (connection.broken) Close(connection, false);
    }
    connections_.remove_if([](const Connection& connection) { return connection.broken; });
  }
}

int Proxy::Patience() const {
  using std::chrono::milliseconds;
  auto next = Clock::time_point::max();
  for (const Connection& connection : connections_) {
    for (const Pipe* const pipe : {&connection.up, &connection.down}) {
      if (!pipe->chunks.empty()) next = std::min(next, pipe->chunks.front().due);
    }
  }
  if (cut_ || next == Clock::time_point::max()) return -1;
  const auto left = std::chrono::ceil<milliseconds>(next - Clock::now());
  // At least 1 ms: a receiver that does not read is asked again then.
  return static_cast<int>(std::clamp<milliseconds::rep>(left.count(), 1, 60'000));
}

void Proxy::Accept() {
  while (true) {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0) return;
    const int on = 1;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    Connection connection{.client = client, .up = {}, .down = {}};
    connection.server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket_.c_str(), sizeof(address.sun_path) - 1);
    connection.up = {.from = client, .to = connection.server, .chunks = {}};
    connection.down = {.from = connection.server, .to = client, .chunks = {}};
    if (connect(connection.server, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      Close(connection, true);  // the daemon is away
      continue;
    }
    connections_.push_back(std::move(connection));
  }
}

void Proxy::Read(Pipe& pipe, Connection& connection) {
  std::array<char, 65536> buffer;
  while (!pipe.over && !connection.broken && pipe.size < kMostHeldBack) {
    const ssize_t read = recv(pipe.from, buffer.data(), buffer.size(), 0);
    if (read < 0 && WouldBlock()) return;
    if (read <= 0) {
      pipe.over = true;
      return;
    }
    pipe.chunks.push_back({Clock::now() + delay_, {buffer.data(), buffer.data() + read}});
    pipe.size += static_cast<std::size_t>(read);
  }
}

void Proxy::Write(Pipe& pipe, Connection& connection) {
  if (cut_) return;
  while (!pipe.chunks.empty() && pipe.chunks.front().due <= Clock::now()) {
    std::vector<char>& bytes = pipe.chunks.front().bytes;
    const ssize_t sent = send(pipe.to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && WouldBlock()) return;
    if (sent < 0) {
      connection.broken = true;
      return;
    }
    pipe.size -= static_cast<std::size_t>(sent);
    bytes.erase(bytes.begin(), bytes.begin() + sent);
    if (bytes.empty()) pipe.chunks.pop_front();
  }
  if (pipe.over && pipe.chunks.empty()) connection.broken = true;
}

void Proxy::Close(Connection& connection, bool reset) {
  if (reset) {
    const linger now{.l_onoff = 1, .l_linger = 0};
    setsockopt(connection.client, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  }
  close(connection.client);
  close(connection.server);
}

}  // namespace redlock::testing::internal
