// The streams between clients and daemons, with faults of networks and processes: delays, cuts of
// one or both directions, breaks that only one side notices, and daemons that drain, die and
// restart.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "client/cpp/core/messages.h"
#include "tests/sim/cluster.h"
#include "tests/sim/session_host.h"
#include "tests/sim/world.h"

namespace redlock::sim {

struct StreamFaults {
  Duration least_delay = microseconds(50);
  Duration most_delay = microseconds(500);
  double slow = 0;  // chance that a message, and all behind it, is delayed by up to this:
  Duration slow_delay = milliseconds(200);
};

class SessionLink;

// The daemons, as clients reach them.
class Fleet {
 public:
  Fleet(World& world, Cluster& cluster, const StreamFaults& faults)
      : world_(world), cluster_(cluster), faults_(faults), hosts_(cluster.daemons()) {}

  [[nodiscard]] std::shared_ptr<SessionHost> Accept(std::size_t daemon, SessionHost::Send send,
                                                    SessionHost::Over over);
  // Asks the clients to move within `time_to_move`; then the daemon ends, and a new one starts
  // later.
  void Drain(std::size_t daemon, Duration time_to_move, Duration until_next);
  // Ends the process at once. The clients' sides of its streams end some time later, or never.
  void Kill(std::size_t daemon, Duration until_next);
  // The daemon is up and does not drain.
  [[nodiscard]] bool Serves(std::size_t daemon) const {
    return cluster_.is_up(daemon) && !draining_[daemon];
  }
  // Visits all open streams.
  void ForEachLink(const std::function<void(SessionLink&)>& visit);

  void Add(const std::shared_ptr<SessionLink>& link) { links_.push_back(link); }
  [[nodiscard]] Cluster& cluster() { return cluster_; }
  [[nodiscard]] World& world() { return world_; }
  [[nodiscard]] const StreamFaults& faults() const { return faults_; }
  // Identifies the process that serves as this daemon; a new process gets another number.
  [[nodiscard]] int process(std::size_t daemon) const { return processes_[daemon]; }

 private:
  World& world_;
  Cluster& cluster_;
  const StreamFaults faults_;
  std::vector<std::vector<std::weak_ptr<SessionHost>>> hosts_;  // by daemon
  std::vector<std::weak_ptr<SessionLink>> links_;
  std::vector<bool> draining_ = std::vector<bool>(cluster_.daemons(), false);
  std::vector<int> processes_ = std::vector<int>(cluster_.daemons(), 0);
};

// One stream. Delivers in order in each direction while it lasts.
class SessionLink final : public std::enable_shared_from_this<SessionLink> {
 public:
  struct ToClient {
    std::function<void(client::Response)> message;
    std::function<void()> written;
    std::function<void(const std::string& why)> ended;
  };

  // `client`: the scheduler on which the client's callbacks run.
  static std::shared_ptr<SessionLink> Open(Fleet& fleet, std::size_t daemon, WorldScheduler& client,
                                           ToClient to_client);

  void Write(client::Request request);
  // Called by the client. The daemon notices later, if at all.
  void Cancel();

  enum class Direction { kToDaemon, kToClient };
  // Messages sent in this direction are lost from now on.
  void Cut(Direction direction);
  // Resets the stream: each side notices at its own time, unless its direction is cut.
  void Break();
  [[nodiscard]] std::size_t daemon() const { return daemon_; }

 private:
  SessionLink(Fleet& fleet, std::size_t daemon, WorldScheduler& client, ToClient to_client);
  void Connect();
  [[nodiscard]] Duration Delay();
  [[nodiscard]] Duration InOrder(MonotonicTime& last);
  [[nodiscard]] bool DaemonLives() const;
  void ToDaemon(std::function<void(SessionHost&)> work);
  void Deliver(client::Response response);
  void EndClient(const std::string& why);

  Fleet& fleet_;
  World& world_;
  const std::size_t daemon_;
  const int process_;
  WorldScheduler& client_;
  ToClient to_client_;
  std::weak_ptr<SessionHost> host_;  // refers to this link; the world keeps it
  bool client_over_ = false;
  bool cut_to_daemon_ = false;
  bool cut_to_client_ = false;
  MonotonicTime last_to_daemon_;
  MonotonicTime last_to_client_;
};

}  // namespace redlock::sim
