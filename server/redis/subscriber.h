// Receives what one node announces. It has its own connection, because Redis allows no other
// commands on a connection that subscribes. The first subscription opens the connection. If it
// breaks, it is reopened as long as there is a subscription.
#pragma once

#include <memory>
#include <string>
#include <unordered_set>

#include "server/core/backoff.h"
#include "server/core/nodes/node.h"
#include "server/loop/event_loop.h"
#include "server/redis/connection.h"
#include "server/redis/endpoint.h"
#include "server/redis/node_tls.h"

namespace redlock::redis {

// Must be used on the loop's strand. At shutdown, when the loop no longer runs, it may be
// unsubscribed from and destroyed by any thread.
class Subscriber {
 public:
  Subscriber(EventLoop& loop, NodeIndex index, Endpoint endpoint,
             std::shared_ptr<const NodeTls> tls);
  ~Subscriber();
  Subscriber(const Subscriber&) = delete;
  Subscriber& operator=(const Subscriber&) = delete;

  void ListenTo(AnnouncementSink* sink) { sink_ = sink; }
  void Subscribe(Topic topic, const Key& key);
  void Unsubscribe(Topic topic, const Key& key);

 private:
  void Connect();
  void OnConnected();
  void OnClosed();
  void GiveUp();
  void OnPush(const redisReply& reply);
  void SendSubscribe(const std::string& channel);

  EventLoop& loop_;
  const NodeIndex index_;
  const Endpoint endpoint_;
  const std::shared_ptr<const NodeTls> tls_;
  AnnouncementSink* sink_ = nullptr;
  std::unordered_set<std::string> channels_;
  std::shared_ptr<Connection> connection_;  // null while there is none
  bool ready_ = false;
  bool pausing_ = false;  // until the next attempt to connect
  Backoff backoff_;
  std::size_t attempt_ = 0;    // to connect, since the last connection that lasted
  TimerHandle connect_timer_;  // starts the next attempt, or limits the current one
  TimerHandle settle_timer_;   // ends the back-off
};

}  // namespace redlock::redis
