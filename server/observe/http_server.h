// A small HTTP server for a few documents, on a thread of its own. It serves requests beside any
// number of connections that are idle, send or receive slowly, or never end.
//
// libevent and libmicrohttpd limit the time of each read, not of a request, and do not let a new
// connection replace an idle one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/loop/event_loop.h"
#include "server/loop/fd_watcher.h"
#include "server/loop/owned_fd.h"
#include "server/observe/http_connection.h"
#include "server/observe/http_message.h"

namespace redlock::observe {

class HttpServer final : private HttpConnection::Listener {
 public:
  // With so many connections, the server closes one for each new one: one whose answer has been
  // sent, or else whose request is not complete, or else whose answer is being sent; of these, the
  // one that has been so for the longest time. While all wait for the handler, it accepts none.
  static constexpr std::size_t kMaxConnections = 64;

  using Ticket = std::uint64_t;
  // A GET or HEAD of a path. Is called on the server's thread, must not block, and must lead to one
  // Answer().
  using Handler = std::function<void(Ticket ticket, const std::string& path)>;

  // Serves on listening sockets.
  HttpServer(std::vector<OwnedFd> sockets, Handler handler);
  // No thread may call Answer() any more.
  ~HttpServer() override;
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // May be called from any thread, once for each ticket.
  void Answer(Ticket ticket, std::shared_ptr<const HttpAnswer> answer);

 private:
  using Connections = std::map<Ticket, std::unique_ptr<HttpConnection>>;

  void OnRequest(Ticket ticket, const std::string& path) override { handler_(ticket, path); }
  void OnEnd(Ticket ticket) override { connections_.erase(ticket); }
  void Watch(FdWatcher::Events events);
  void Pause();
  void Accept(int socket);
  void Add(OwnedFd fd);
  // Whether any connection does not wait for its answer.
  [[nodiscard]] bool AnyCanBeClosed() const;
  void CloseOne();

  const Handler handler_;
  const std::vector<OwnedFd> sockets_;
  EventLoop loop_;
  std::vector<std::unique_ptr<FdWatcher>> watchers_;  // of sockets_
  TimerHandle pause_;
  Ticket next_ticket_ = 0;
  Connections connections_;
  std::thread thread_;
};

}  // namespace redlock::observe
