// One connection to a node: writes commands to a Transport and reads replies with hiredis' reader.
//
// All commands sent in one turn of the loop go out in one write. Replies arrive in the order of the
// commands. The connection does not retry after a failure; its owner opens a new one.
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

// The AUTH command with the endpoint's password as it is now, or nothing if there is none.
[[nodiscard]] std::vector<std::string> AuthCommand(const Endpoint& endpoint);

// Creates a hiredis reader that rejects arrays longer than any expected reply before it allocates
// them. Free it with redisReaderFree().
[[nodiscard]] redisReader* NewReader();

// Receives a reply, which is valid during the call only. Null: the reply cannot arrive any more.
using ReplyHandler = std::function<void(const redisReply*)>;

// Must be used on the loop's strand, except that Open(), SendWithoutReply() and Close() may be
// called while the loop does not run. Owned by shared_ptr, because its owner may drop it inside its
// callbacks.
class Connection final : public Transport::Listener,
                         public std::enable_shared_from_this<Connection> {
 public:
  // Called once, when the connection has ended by itself. Not called after Close().
  using Closed = std::function<void(const std::string& why)>;

  Connection(EventLoop& loop, Closed closed);
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Begins to connect; `connected` is called once it is open. Commands may be sent from then on.
  // `attempt` counts the attempts to connect, from 0: each begins with another address of the host.
  void Open(const Endpoint& endpoint, const TlsContext& tls, std::size_t attempt,
            std::function<void()> connected);

  // Queues a command; `handler` is called exactly once, never inside this call.
  void Send(std::span<const std::string_view> command, ReplyHandler handler);
  // The same for a command that is already in RESP.
  void SendWritten(std::string_view command, ReplyHandler handler);

  // Writes the queued commands now instead of at the end of the turn.
  void FlushNow();

  // For a connection that subscribes: `pushed` receives every reply for which no command is
  // waiting, and may close the connection. Without it, such a reply ends the connection.
  void OnPush(std::function<void(const redisReply&)> pushed) { pushed_ = std::move(pushed); }
  // Queues a command whose replies go to `pushed`.
  void SendWithoutReply(std::span<const std::string_view> command);

  // Ends the connection. Every command that is waiting for a reply gets null.
  void Close();
  // Ends the connection and destroys the handlers at once, without a call. For an owner that is
  // destroyed: a handler keeps alive what must not outlive it.
  void Discard();

  // Since when a command has been waiting without any data from the node; nothing if no command is
  // waiting. Not the age of the oldest command: a node that works through a long queue is not
  // silent.
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
  std::string outgoing_;  // queued commands
  std::size_t sent_ = 0;  // bytes of outgoing_ that have been written
  bool flush_posted_ = false;
  bool held_back_ = false;  // waiting for OnWritable()
  MonotonicTime last_read_;
  std::size_t unparsed_ = 0;  // bytes of a reply that is not complete yet
};

}  // namespace redlock::redis
