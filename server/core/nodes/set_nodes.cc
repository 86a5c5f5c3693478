#include "server/core/nodes/set_nodes.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "server/core/check.h"
#include "server/core/format.h"
#include "server/core/nodes/mark.h"

namespace redlock {

class SetNodes::Reply final : public SetSink {
 public:
  Reply(SetNodes& nodes, std::uint64_t step) : nodes_(nodes), step_(step), alive_(nodes.alive_) {}
  void OnSetReply(NodeIndex node, SetReply reply) override {
    if (*alive_) nodes_.Take(node, step_, reply);
  }

 private:
  SetNodes& nodes_;
  const std::uint64_t step_;
  const std::shared_ptr<bool> alive_;
};

SetNodes::SetNodes(Scheduler& scheduler, Random& random, const std::vector<Node*>& nodes,
                   std::vector<std::string> names, OnReply on_reply)
    : scheduler_(scheduler),
      random_(random),
      on_reply_(std::move(on_reply)),
      alive_(std::make_shared<bool>(true)) {
  REDLOCK_CHECK(names.size() == nodes.size());
  seats_.reserve(nodes.size());
  for (NodeIndex i = 0; i < nodes.size(); ++i) seats_.emplace_back(*nodes[i], std::move(names[i]));
}

SetNodes::~SetNodes() { *alive_ = false; }

void SetNodes::Connect(NodeIndex node, const NodeFacts& facts) {
  Seat& seat = seats_[node];
  seat.connected = true;
  seat.asking = 0;
  seat.resting = false;
  seat.run = RunOf(facts.run_id);
  seat.state = facts.set;
  seat.read = scheduler_.Now();
  highest_ballot_ = std::max(highest_ballot_, seat.state.promised.number);
}

void SetNodes::Ask(NodeIndex node, const SetStep& step) {
  REDLOCK_CHECK(seats_[node].IsFree());
  seats_[node].asking = ++steps_;
  seats_[node].node.AskSet(step, std::make_shared<Reply>(*this, steps_));
}

void SetNodes::Take(NodeIndex node, std::uint64_t step, const SetReply& reply) {
  Seat& seat = seats_[node];
  if (seat.asking != step) return;  // of an earlier connection
  seat.asking = 0;
  seat.resting = !reply.answered;
  if (reply.answered) {
    seat.state = reply.state;
    seat.read = scheduler_.Now();
    highest_ballot_ = std::max(highest_ballot_, seat.state.promised.number);
  }
  on_reply_(node, reply);
}

Ballot SetNodes::NextBallot() { return {++highest_ballot_, random_.Bits()}; }

std::string SetNodes::NewId() {
  return Hexadecimal(std::bit_cast<std::array<unsigned char, 8>>(random_.Bits()));
}

}  // namespace redlock
