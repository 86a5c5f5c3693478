// Receives the releases that one node announces. It has its own connection, because Redis allows no
// other commands on a connection that subscribes. The first subscription opens the connection. If
// it breaks, it is reopened as long as a key is subscribed to.
#pragma once

#include <memory>
#include <string>
#include <unordered_set>

#include "server/core/backoff.h"
#include "server/core/nodes/node.h"
#include "server/loop/event_loop.h"
#include "server/redis/connection.h"
#include "server/redis/endpoint.h"

namespace redlock::redis {

// Must be used on the loop's strand. At shutdown, when the loop no longer runs, it may be
// unsubscribed from and destroyed by any thread.
class Subscriber {
 public:
  Subscriber(EventLoop& loop, NodeIndex index, Endpoint endpoint, TlsContext tls);
  ~Subscriber();
  Subscriber(const Subscriber&) = delete;
  Subscriber& operator=(const Subscriber&) = delete;

  void ListenTo(AnnouncementSink* sink) { sink_ = sink; }
  void Subscribe(const Key& key);
  void Unsubscribe(const Key& key);

 private:
  void Connect();
  void OnConnected();
  void OnClosed();
  void OnPush(const redisReply& reply);
  void SendSubscribe(const std::string& key);

  EventLoop& loop_;
  const NodeIndex index_;
  const Endpoint endpoint_;
  const TlsContext tls_;
  AnnouncementSink* sink_ = nullptr;
  std::unordered_set<std::string> keys_;
  std::shared_ptr<Connection> connection_;  // null while there is none
  bool ready_ = false;
  Backoff backoff_;
  TimerHandle connect_timer_;
};

}  // namespace redlock::redis
