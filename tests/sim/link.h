// A daemon's connection to a node, with the faults of a network: delays, breaks that lose requests
// or only their replies, silence. Implements what the core asks of a node.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <set>
#include <string>

#include "server/core/nodes/node.h"
#include "tests/sim/server.h"
#include "tests/sim/world.h"

namespace redlock::sim {

// How a network behaves. Zero everywhere: perfect and instant.
struct NetworkFaults {
  Duration least_delay = microseconds(50);
  Duration most_delay = microseconds(500);
  double slow = 0;  // chance that a message is held up by as much as this:
  Duration slow_delay = milliseconds(200);
  double breaks = 0;  // chance, per request, that the connection breaks
  // Chance, per request, that the node has lost the script (SCRIPT FLUSH): it refuses, and is asked
  // again, behind what was sent meanwhile.
  double forgets = 0;
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
  void Inspect(const Key& key, std::shared_ptr<ReplySink> sink) override;
  void Probe(const Key& key, std::shared_ptr<ReplySink> sink) override;
  void Mark(const MarkStep& step, std::shared_ptr<ReplySink> sink) override;
  void ReadMark(std::shared_ptr<ReplySink> sink) override;
  // With an observer the node is asked for its facts on each connection, before any step.
  void ObserveWith(NodeObserver* observer) override;
  void ListenTo(AnnouncementSink* sink) override { announcements_ = sink; }
  void Subscribe(const Key& key) override;
  void Unsubscribe(const Key& key) override;

  // The connection breaks: what is under way may or may not reach the node; its callers get an
  // error. `down`: requests fail at once until the link comes up.
  void Break(bool down);
  void ComeUp();
  // Nothing moves until Resume(), as with SIGSTOP; then everything does, late.
  void Pause() { paused_ = true; }
  void Resume();

  // The node has lost the script when the next request comes.
  void ForgetScript() { forgets_next_ = true; }

  // One direction is cut: what is sent there is lost, until the link comes up again.
  enum class Direction { kRequests, kReplies };
  void Cut(Direction direction);

  // The observer has heard of at least one connection.
  [[nodiscard]] bool has_been_up() const { return has_been_up_; }
  [[nodiscard]] std::size_t requests() const { return requests_; }
  // Without the guard's looks, which never end.
  [[nodiscard]] std::size_t under_way() const;

 private:
  using Work = std::function<NodeReply()>;
  struct Call {
    std::shared_ptr<ReplySink> sink;
    int run = 0;  // of the server, when it was sent: another one has not got it
    bool of_guard = false;
    bool answered = false;
    bool sent_again = false;
  };

  void Send(Work work, std::shared_ptr<ReplySink> sink, bool of_guard = false);
  void LogIn();
  void AnswerLogIn(std::uint64_t connection, MonotonicTime asked);
  void Deliver(Work work, const std::shared_ptr<Call>& call);
  [[nodiscard]] bool MeetsNoScript(Call& call);
  void Answer(const std::shared_ptr<Call>& call, NodeReply reply);
  void SendSubscribe(const std::string& key);
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
  // One connection delivers in order, both ways; a new one may overtake what the old one carries.
  MonotonicTime last_request_;
  MonotonicTime last_reply_;
  std::list<std::shared_ptr<Call>> calls_;
  std::list<std::function<void()>> held_up_;  // while paused
  // The connection that listens: what is under way on an earlier one is not heard any more.
  AnnouncementSink* announcements_ = nullptr;
  std::set<std::string> subscribed_;
  std::uint64_t listening_connection_ = 0;
};

}  // namespace redlock::sim
