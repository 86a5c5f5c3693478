// Asks every node who holds a key. Reads only. Waits for all nodes, node_timeout at most.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "server/core/rounds/environment.h"

namespace redlock {

struct InspectResult {
  bool held = false;       // a quorum holds the same token
  bool undecided = false;  // those that cannot tell might make it a quorum
  OwnerLabel owner;
  FencingToken fence;    // the highest stored
  Duration remaining{};  // until a quorum holds no longer
  Votes votes;
  std::vector<OwnerToken> holders;  // each token that holds it on some node; never to be shown
};
using InspectDone = std::function<void(InspectResult)>;

class Inspection final : public ReplySink, public std::enable_shared_from_this<Inspection> {
 public:
  // `done` is called once, never inside this call. The nodes keep the inspection alive.
  static void Start(const Environment& env, const Key& key, InspectDone done);

  void OnReply(NodeIndex node, NodeReply reply) override;

 private:
  Inspection(const Environment& env, InspectDone done);
  void Finish();

  const Environment& env_;
  InspectDone done_;
  const MonotonicTime started_;
  std::vector<NodeReply> holders_;  // the replies of nodes where some token holds the key
  std::vector<bool> answered_;
  std::size_t cannot_tell_ = 0;  // nodes that do not answer, or may have forgotten what they held
  FencingToken highest_;
  Votes votes_;
  TimerHandle timeout_;
};

}  // namespace redlock
