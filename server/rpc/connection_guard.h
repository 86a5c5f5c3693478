// Closes connections whose peers misuse HTTP/2, because gRPC 1.51 bounds neither what one
// connection costs nor for how long it keeps a thread busy:
//
// - gRPC creates a call for each HEADERS frame, and frees it only after the daemon's thread has
// seen
//   it. While frames keep coming on a connection, gRPC reads on and on, so that a flood of
//   cancelled calls piles up. The limit of concurrent streams does not count them, nor does it bind
//   a client that never acknowledges the setting.
// - During a flood of frames of any kind, the thread serves no other connection.
//
// The guard therefore looks at two symptoms: memory that grows, and a thread that stays within
// gRPC. Channelz has the numbers of calls of each connection, the kernel those of bytes. An honest
// client may open as many calls at once as it is allowed; so the limits are wide, until a first
// connection had to be closed. From then on they are strict for some time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/loop/event_loop.h"
#include "server/rpc/connections.h"
#include "server/rpc/poller.h"

namespace redlock::rpc {

// Used by one thread.
class ConnectionGuard {
 public:
  // How often to call Look() while there are connections.
  static constexpr Duration kInterval = std::chrono::milliseconds(100);
  // The limit of concurrent streams of a connection. gRPC's clients keep further calls waiting. As
  // a waiting call may be the one that would end the wait of others, such as a release, this must
  // not be small.
  static constexpr int kMostCalls = 5'000;

  // All must outlive this object.
  ConnectionGuard(Connections& connections, const std::vector<std::unique_ptr<Poller>>& pollers);

  void Look();

 private:
  // How long a thread has been working within one call of gRPC's.
  struct Stay {
    Duration time{};
    Duration cpu{};
  };
  struct Watched {
    Poller* poller;
    Poller::Progress last{};
    MonotonicTime since{};  // when it began to work without a pause
    Duration cpu_before{};  // at that time
  };

  [[nodiscard]] Stay LongestStay();
  void NoteBytes();
  void CloseBusiest(bool proven_too);
  [[nodiscard]] bool MemoryGrew();
  void CloseThoseWithTooManyCalls();
  void FindSockets();
  [[nodiscard]] std::int64_t CallsOf(const std::string& peer) const;
  void Report(const std::string& peer, const std::string& why);
  [[nodiscard]] bool IsStrict() const { return BootTime() < strict_until_; }

  Connections& connections_;
  std::vector<Watched> watched_;
  bool noted_ = false;          // the connections' bytes, since a thread has been busy
  MonotonicTime strict_until_;  // set when a connection is closed
  std::int64_t server_id_ = 0;  // channelz's id of the server
  std::unordered_map<std::string, std::int64_t> sockets_;  // channelz's ids by peer
  std::size_t reviewed_rss_;
  bool review_again_ = false;
};

}  // namespace redlock::rpc
