// The configured nodes as the node set sees them: what each stores about the set, and how to ask
// it. At most one step is in flight to each node. Strand-confined.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/core/clock.h"
#include "server/core/nodes/node.h"
#include "server/core/random.h"

namespace redlock {

class SetNodes {
 public:
  struct Seat {
    Seat(Node& to, std::string called) : node(to), name(std::move(called)) {}

    [[nodiscard]] bool IsFree() const { return connected && asking == 0 && !resting; }
    // How long the node accepts no change, by its last answer.
    [[nodiscard]] Duration WaitLeft(MonotonicTime now) const {
      return std::max(state.wait - (now - read), Duration{});
    }

    Node& node;
    const std::string name;  // the address
    bool connected = false;
    std::string down_because = "connecting";  // why it is not connected
    std::uint64_t asking = 0;                 // the number of the step that is in flight; 0: none
    bool resting = false;                     // its last step failed: nothing is asked until Wake()
    std::string run;                          // see RunOf()
    SetState state;                           // as reported last
    MonotonicTime read;                       // when it was reported
    std::string last_member;                  // the id under which it was a member of the set
  };
  // Called for each answer on a connection that is still open.
  using OnReply = std::function<void(NodeIndex node, const SetReply& reply)>;

  // The scheduler, `random` and the nodes must outlive this.
  SetNodes(Scheduler& scheduler, Random& random, const std::vector<Node*>& nodes,
           std::vector<std::string> names, OnReply on_reply);
  ~SetNodes();
  SetNodes(const SetNodes&) = delete;
  SetNodes& operator=(const SetNodes&) = delete;

  [[nodiscard]] std::size_t size() const { return seats_.size(); }
  [[nodiscard]] Seat& operator[](NodeIndex node) { return seats_[node]; }
  [[nodiscard]] const Seat& operator[](NodeIndex node) const { return seats_[node]; }
  [[nodiscard]] auto begin() const { return seats_.begin(); }
  [[nodiscard]] auto end() const { return seats_.end(); }

  void Connect(NodeIndex node, const NodeFacts& facts);
  void Disconnect(NodeIndex node, const std::string& why) {
    seats_[node].connected = false;
    seats_[node].down_because = why;
  }
  // The node must be free.
  void Ask(NodeIndex node, const SetStep& step);
  // Nodes that failed can be asked again. Call now and then.
  void Wake() {
    for (Seat& seat : seats_) seat.resting = false;
  }
  // A ballot above all that the nodes have reported.
  [[nodiscard]] Ballot NextBallot();
  // 16 hexadecimal digits.
  [[nodiscard]] std::string NewId();

 private:
  class Reply;
  void Take(NodeIndex node, std::uint64_t step, const SetReply& reply);

  Scheduler& scheduler_;
  Random& random_;
  const OnReply on_reply_;
  std::vector<Seat> seats_;
  std::uint64_t steps_ = 0;
  std::uint64_t highest_ballot_ = 0;
  const std::shared_ptr<bool> alive_;  // false after destruction: replies may arrive later
};

}  // namespace redlock
