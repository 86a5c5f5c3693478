// Creates a node set: the first record, which is in force once all configured nodes hold it.
//
// Each node gets an id. The record is offered to all nodes, to the one with the lowest id first:
// daemons that start together then offer the same record. Strand-confined.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/core/nodes/set_nodes.h"
#include "server/core/options.h"
#include "server/core/random.h"

namespace redlock {

class SetCreation {
 public:
  // Why no set can be created now. `mismatch`: waiting does not help, because nodes or daemons
  // disagree.
  struct Obstacle {
    std::string what;
    bool mismatch = true;
  };

  // All must outlive this.
  SetCreation(SetNodes& nodes, Random& random, const NodeSetOptions& options)
      : nodes_(nodes), random_(random), options_(options) {}

  // Takes the next step. No connected node has a record. Returns the record once all nodes hold it.
  [[nodiscard]] std::optional<SetRecord> Advance();
  // Set by Advance().
  [[nodiscard]] const std::optional<Obstacle>& obstacle() const { return obstacle_; }
  // Gives the node a new id and a fresh mark, unless a step is in flight to it.
  void Enroll(NodeIndex node);

 private:
  [[nodiscard]] bool EnrollAll();
  // False if the records that were offered to nodes are for other servers.
  [[nodiscard]] bool StartAgain();
  [[nodiscard]] SetRecord FirstRecord(const std::vector<NodeIndex>& nodes);

  SetNodes& nodes_;
  Random& random_;
  const NodeSetOptions& options_;
  std::optional<SetRecord> first_;  // offered by this daemon
  std::optional<Obstacle> obstacle_;
};

}  // namespace redlock
