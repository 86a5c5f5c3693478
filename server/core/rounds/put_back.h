// Completes an extension after a change of the node set: puts the key on members that answered "not
// held", and counts them.
//
// A lease that was granted by a quorum of the previous set may be held by fewer of the present
// members than a quorum. If so many still hold it that no other token can find a quorum (see
// NodeSet::blocking), the others may be given the key: SET NX, with the full TTL, on nodes that are
// not quarantined. A node that has stored a higher fence refuses. So a lease that was lost cannot
// come back after another one: the quorum of any later holder has a node in common with the nodes
// that hold this token and those that are given it. tests/model/node_set.pml checks this without
// fences, the simulation with them. Strand-confined.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "server/core/nodes/steps.h"
#include "server/core/rounds/environment.h"

namespace redlock {

class PutBack final : public ReplySink, public std::enable_shared_from_this<PutBack> {
 public:
  using Done = std::function<void(std::size_t granted)>;  // how many nodes have the key now

  // Sends the step to the nodes. `done` is called once, never inside this call, unless Abandon() is
  // called before: as soon as `needed` nodes have granted, or when no more answers are expected.
  static std::shared_ptr<PutBack> Start(const Environment& env, const RepairStep& step,
                                        const std::vector<NodeIndex>& nodes, std::size_t needed,
                                        Done done);
  void Abandon();
  void OnReply(NodeIndex node, NodeReply&& reply) override;

 private:
  PutBack(std::size_t pending, std::size_t needed, Done done)
      : pending_(pending), needed_(needed), done_(std::move(done)) {}
  void Finish();

  std::size_t pending_;
  const std::size_t needed_;
  std::size_t granted_ = 0;
  Done done_;
  TimerHandle timeout_;
};

}  // namespace redlock
