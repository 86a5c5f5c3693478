#include "server/observe/http_server.h"

#include <spdlog/common.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "server/observe/throttle.h"

namespace redlock::observe {
namespace {

constexpr int kMaxAcceptsPerTurn = 16;  // so that new connections do not delay the others
constexpr Duration kAcceptPause = std::chrono::milliseconds(50);

constexpr FdWatcher::Events kNothing{};
constexpr FdWatcher::Events kReadable{.readable = true, .writable = false};

}  // namespace

HttpServer::HttpServer(std::vector<OwnedFd> sockets, Handler handler)
    : handler_(std::move(handler)), sockets_(std::move(sockets)) {
  for (const OwnedFd& socket : sockets_) {
    watchers_.push_back(std::make_unique<FdWatcher>(
        loop_, socket.get(), [this, fd = socket.get()](FdWatcher::Events) { Accept(fd); }));
  }
  Watch(kReadable);
  thread_ = std::thread([this] { loop_.Run(); });
}

HttpServer::~HttpServer() {
  loop_.Stop();
  thread_.join();
}

void HttpServer::Answer(Ticket ticket, std::shared_ptr<const HttpAnswer> answer) {
  // The connection exists, because none is closed while it waits for its answer.
  loop_.Post(
      [this, ticket, answer = std::move(answer)] { connections_.at(ticket)->Answer(*answer); });
}

void HttpServer::Watch(FdWatcher::Events events) {
  for (const auto& watcher : watchers_) watcher->Want(events);
}

// The kernel keeps new connections meanwhile.
void HttpServer::Pause() {
  Watch(kNothing);
  pause_ = loop_.After(kAcceptPause, [this] { Watch(kReadable); });
}

void HttpServer::Accept(int socket) {
  for (int i = 0; i < kMaxAcceptsPerTurn; ++i) {
    const bool full = connections_.size() >= kMaxConnections;
    if (full && !AnyCanBeClosed()) return Pause();
    OwnedFd fd(accept4(socket, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    const int error = errno;
    if (fd.get() >= 0) {
      if (full) CloseOne();
      Add(std::move(fd));
    } else if (error == EAGAIN) {
      return;
    } else if (error != EINTR && error != ECONNABORTED) {
      // Usually the process has no free descriptor.
      LogThrottled(spdlog::level::warn, "accept", "metrics listener",
                   "metrics listener: cannot accept a connection, retrying: " +
                       std::generic_category().message(error));
      if (!AnyCanBeClosed()) return Pause();
      CloseOne();
    }
  }
}

void HttpServer::Add(OwnedFd fd) {
  const Ticket ticket = next_ticket_++;
  HttpConnection::Listener& listener = *this;
  auto connection = std::make_unique<HttpConnection>(loop_, std::move(fd), ticket, listener);
  connections_.emplace(ticket, std::move(connection)).first->second->Receive();
}

bool HttpServer::AnyCanBeClosed() const {
  return std::any_of(connections_.begin(), connections_.end(), [](const auto& connection) {
    return connection.second->state() != HttpConnection::State::kWaiting;
  });
}

void HttpServer::CloseOne() {
  while (true) {
    const auto first = std::min_element(
        connections_.begin(), connections_.end(),
        [](const auto& a, const auto& b) { return a.second->rank() < b.second->rank(); });
    const Ticket ticket = first->first;
    const HttpConnection::State state = first->second->state();
    if (state == HttpConnection::State::kWaiting) return;
    if (state == HttpConnection::State::kReceiving) {
      // Its request may have arrived meanwhile. If so, the next one is closed.
      first->second->Receive();
      const auto found = connections_.find(ticket);
      if (found == connections_.end()) return;
      if (found->second->state() != state) continue;
    }
    connections_.erase(ticket);
    return;
  }
}

}  // namespace redlock::observe
