// One connection to a node: hiredis' formatter and reply reader over a Transport.
//
// All commands sent in one turn of the loop go out in one write. Replies come in the order of the
// commands. Nothing is sent again after a failure; the owner opens a new connection.
#pragma once

#include <hiredis/hiredis.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/loop/event_loop.h"
#include "server/redis/endpoint.h"
#include "server/redis/transport.h"

namespace redlock::redis {

// The command that logs in, or nothing where the endpoint has no password.
[[nodiscard]] std::vector<std::string_view> AuthCommand(const Endpoint& endpoint);

// hiredis' reader, bounded: it refuses arrays longer than any of ours before it allocates them.
// Freed by redisReaderFree().
[[nodiscard]] redisReader* NewReader();

// A reply, valid during the callback; null when it cannot come any more.
using ReplyHandler = std::function<void(const redisReply*)>;

// In the loop's turns. Owned by shared_ptr, because it may be let go of inside its own callbacks.
class Connection final : public Transport::Listener,
                         public std::enable_shared_from_this<Connection> {
 public:
  // Told once, when the connection has ended by itself; not after Close().
  using Closed = std::function<void(const std::string& why)>;

  Connection(EventLoop& loop, Closed closed);
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Begins to connect; `connected` is called once it is open. Commands may be sent from then on.
  void Open(const Endpoint& endpoint, const TlsContext& tls, std::function<void()> connected);

  // Queues a command; `handler` is called exactly once, never inside this call.
  void Send(std::span<const std::string_view> command, ReplyHandler handler);
  // The same for one that is written in RESP already.
  void SendWritten(std::string_view command, ReplyHandler handler);

  // What is queued is written at the end of the turn; this writes it now.
  void FlushNow();

  // For a connection that subscribes: every reply that no command waits for goes to `pushed`.
  // Without it such a reply ends the connection.
  void OnPush(std::function<void(const redisReply&)> pushed) { pushed_ = std::move(pushed); }
  // Queues a command of which the replies are pushed.
  void SendWithoutReply(std::span<const std::string_view> command);

  // Ends the connection: every command that waits for its reply gets null.
  void Close();

  // Since when a command has been waiting while nothing came, if one is. Not the age of the oldest:
  // a node that answers a long queue one by one is not silent.
  [[nodiscard]] std::optional<MonotonicTime> waiting_since() const;

 private:
  struct Pending {
    MonotonicTime since;
    ReplyHandler handler;
  };
  struct FreeReader {
    void operator()(redisReader* reader) const { redisReaderFree(reader); }
  };

  void OnConnected() override;
  void OnData(std::string_view data) override;
  void OnWritable() override { Flush(); }
  void OnClosed(std::string why) override { Fail(why); }

  void FlushSoon();
  void Flush();
  void Fail(const std::string& why);
  void Abort();

  EventLoop& loop_;
  std::unique_ptr<Transport> transport_;  // null once it has ended
  std::function<void()> connected_;
  Closed closed_;
  std::function<void(const redisReply&)> pushed_;
  std::unique_ptr<redisReader, FreeReader> reader_;
  std::deque<Pending> pending_;
  std::string outgoing_;  // what has not been sent
  std::size_t sent_ = 0;  // of it
  bool flush_posted_ = false;
  bool held_back_ = false;  // the transport will say when it takes more
  MonotonicTime last_read_;
  std::size_t unparsed_ = 0;  // bytes of a reply that is not complete yet
};

}  // namespace redlock::redis
