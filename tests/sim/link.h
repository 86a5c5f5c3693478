// A daemon's connection to a node, with network faults: delays, breaks that lose requests or only
// their replies, and silence. Implements the node interface of the core.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "server/core/nodes/node.h"
#include "tests/sim/server.h"
#include "tests/sim/world.h"

namespace redlock::sim {

// How a network behaves. All zero: perfect and instant.
struct NetworkFaults {
  Duration least_delay = microseconds(50);
  Duration most_delay = microseconds(500);
  double slow = 0;  // chance that a message is delayed by up to this:
  Duration slow_delay = milliseconds(200);
  double breaks = 0;  // chance per request that the connection breaks
  // Chance per request that the node has lost the script (SCRIPT FLUSH): the node refuses the
  // request, and the link sends it again, after the requests that were sent meanwhile.
  double forgets = 0;
  double mutes = 0;  // chance that an announcement is lost
};

class Link final : public Node {
 public:
  Link(World& world, WorldScheduler& daemon, NodeIndex index, Server& server,
       const NetworkFaults& faults)
      : world_(world), daemon_(daemon), index_(index), server_(server), faults_(faults) {}

  void Acquire(const AcquireStep& step, std::shared_ptr<ReplySink> sink) override;
  void HandOver(const HandOverStep& step, std::shared_ptr<ReplySink> sink) override;
  void Extend(const ExtendStep& step, std::shared_ptr<ReplySink> sink) override;
  void Repair(const RepairStep& step, std::shared_ptr<ReplySink> sink) override;
  void Release(const ReleaseStep& step, std::shared_ptr<ReplySink> sink) override;
  void Intend(const IntendStep& step, std::shared_ptr<ReplySink> sink) override;
  void Proclaim(const ProclaimStep& step, std::shared_ptr<ReplySink> sink) override;
  void Inspect(const InspectStep& step, std::shared_ptr<ReplySink> sink) override;
  void Probe(const Key& key, std::shared_ptr<ReplySink> sink) override;
  void Mark(const MarkStep& step, std::shared_ptr<ReplySink> sink) override;
  void TryGrant(std::shared_ptr<ReplySink> sink) override;
  void ReadMark(std::shared_ptr<ReplySink> sink) override;
  void AskSet(const SetStep& step, std::shared_ptr<SetSink> sink) override;
  void ReadSettings(std::shared_ptr<ReplySink> sink) override;
  // With an observer, the link asks the node for its facts on each connection before any step.
  void ObserveWith(NodeObserver* observer) override;
  void ListenTo(AnnouncementSink* sink) override { announcements_ = sink; }
  void Subscribe(Topic topic, const Key& key) override;
  void Unsubscribe(Topic topic, const Key& key) override;

  // Breaks the connection. Requests under way may or may not reach the node; their callers get an
  // error. `down`: requests fail at once until the link comes up.
  void Break(bool down);
  void ComeUp();
  // Stops all traffic until Resume(), as SIGSTOP does; then everything is processed, late.
  void Pause() { paused_ = true; }
  void Resume();

  // The node has lost the script when the next request arrives.
  void ForgetScript() { forgets_next_ = true; }

  // Cuts one direction: messages in it are lost until the link comes up again.
  enum class Direction { kRequests, kReplies };
  void Cut(Direction direction);

  // The observer has been notified of at least one connection.
  [[nodiscard]] bool has_been_up() const { return has_been_up_; }
  [[nodiscard]] std::size_t requests() const { return requests_; }
  // Calls under way, without the guard's periodic checks, which never end.
  [[nodiscard]] std::size_t under_way() const;

 private:
  using Work = std::function<NodeReply()>;
  enum class Kind { kAcquisition, kOther, kOfGuard };
  struct Call {
    std::shared_ptr<ReplySink> sink;
    int run = 0;  // the server's run when the call was sent; a later run has not received it
    Kind kind = Kind::kOther;
    MonotonicTime sent;
    bool answered = false;
    bool sent_again = false;
  };

  void Send(Work work, std::shared_ptr<ReplySink> sink, Kind kind = Kind::kOther);
  void LogIn();
  void AnswerLogIn(std::uint64_t connection, MonotonicTime asked);
  void Deliver(Work work, const std::shared_ptr<Call>& call);
  [[nodiscard]] bool MeetsNoScript(Call& call);
  void ShareClock(const Call& call, NodeReply& reply);
  void Answer(const std::shared_ptr<Call>& call, NodeReply reply);
  using Channel = std::pair<Topic, std::string>;
  void SendSubscribe(const Channel& channel);
  void GoDeaf();
  [[nodiscard]] Duration Delay();
  [[nodiscard]] MonotonicTime InOrder(MonotonicTime& last);

  World& world_;
  WorldScheduler& daemon_;
  const NodeIndex index_;
  Server& server_;
  const NetworkFaults& faults_;
  bool down_ = false;
  bool paused_ = false;
  bool loses_requests_ = false;
  bool loses_replies_ = false;
  bool forgets_next_ = false;
  bool logged_in_ = true;
  bool has_been_up_ = false;
  NodeObserver* observer_ = nullptr;
  std::uint64_t connection_ = 0;
  std::size_t requests_ = 0;
  // A connection delivers in order in both directions; a new connection may overtake messages of
  // the old one.
  MonotonicTime last_request_;
  MonotonicTime last_reply_;
  std::optional<MonotonicTime> clock_told_;  // when the last grant with the node's clock was made
  std::list<std::shared_ptr<Call>> calls_;
  std::list<std::function<void()>> paused_work_;  // while paused
  // The connection that listens. Announcements under way on an earlier connection are dropped.
  AnnouncementSink* announcements_ = nullptr;
  std::set<Channel> subscribed_;
  std::uint64_t listening_connection_ = 0;
};

}  // namespace redlock::sim
