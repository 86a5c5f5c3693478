#include "client/redlockctl/http_get.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <system_error>

namespace redlockctl {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kMostBytes = std::size_t{16} << 20U;

std::runtime_error Failed(int error) {
  return std::runtime_error(std::generic_category().message(error));
}

// A TCP connection whose calls together take no longer than the patience.
class HttpConnection {
 public:
  HttpConnection(const std::string& address, milliseconds patience)
      : deadline_(steady_clock::now() + patience) {
    const auto colon = address.rfind(':');
    if (colon == std::string::npos) throw std::runtime_error("the address must be host:port");
    std::string host = address.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int status = getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found);
    if (status != 0) throw std::runtime_error(gai_strerror(status));
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> all(found, &freeaddrinfo);
    int error = 0;
    for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
      error = Connect(*each);
      if (error == 0) return;
    }
    throw Failed(error);
  }
  ~HttpConnection() { Close(); }
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  void Send(std::string_view text) const {
    while (!text.empty()) {
      Await(POLLOUT);
      const ssize_t sent = send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent < 0) throw Failed(errno);
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  // Reads until the server closes the connection.
  [[nodiscard]] std::string ReadAll() const {
    std::string text;
    std::array<char, 65536> chunk{};
    while (true) {
      Await(POLLIN);
      const ssize_t read = recv(fd_, chunk.data(), chunk.size(), 0);
      if (read < 0) throw Failed(errno);
      if (read == 0) return text;
      text.append(chunk.data(), static_cast<std::size_t>(read));
      if (text.size() > kMostBytes) throw std::runtime_error("the answer is longer than 16 MiB");
    }
  }

 private:
  // Returns 0 or an error number.
  int Connect(const addrinfo& to) {
    Close();
    fd_ = socket(to.ai_family, to.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, to.ai_protocol);
    if (fd_ < 0) return errno;
    if (connect(fd_, to.ai_addr, to.ai_addrlen) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    Await(POLLOUT);
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
  }

  void Await(short events) const {
    const auto left = std::chrono::ceil<milliseconds>(deadline_ - steady_clock::now());
    pollfd waiting{.fd = fd_, .events = events, .revents = 0};
    const int timeout = static_cast<int>(std::max(left, milliseconds(0)).count());
    if (poll(&waiting, 1, timeout) <= 0) throw std::runtime_error("no answer in time");
  }

  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

  const steady_clock::time_point deadline_;
  int fd_ = -1;
};

}  // namespace

std::string HttpGet(const std::string& address, const std::string& path, milliseconds patience) {
  const HttpConnection connection(address, patience);
  // With HTTP 1.0, the server sends the body as it is and closes the connection.
  connection.Send("GET " + path + " HTTP/1.0\r\nHost: " + address + "\r\n\r\n");
  const std::string answer = connection.ReadAll();
  const auto head = answer.find("\r\n\r\n");
  const std::string status = answer.substr(0, answer.find("\r\n"));
  if (head == std::string::npos || status.find(" 200 ") == std::string::npos) {
    throw std::runtime_error("the server does not answer like redlockd's --metrics-listen");
  }
  return answer.substr(head + 4);
}

}  // namespace redlockctl
