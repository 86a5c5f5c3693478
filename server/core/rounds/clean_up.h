// Releases on nodes that hold, or may hold, what nobody is to hold: the roll-back of a failed
// acquisition, and the part of a release that nodes have not answered. Runs in the background.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "server/core/operation.h"
#include "server/core/rounds/environment.h"

namespace redlock {

struct CleanUpTarget {
  Key key;
  OwnerToken token;
  std::optional<AttemptId> only_attempt;  // as in ReleaseStep
  FencingToken seal;                      // likewise
  bool announce = false;                  // likewise
  std::optional<Keeper> at_end_of = {};   // likewise
};

// Asks each of its nodes until the node has answered, for release_timeout at most. One thread.
class CleanUp final : public Operation,
                      public ReplySink,
                      public std::enable_shared_from_this<CleanUp> {
 public:
  enum class Begin { kNow, kAfterPause };

  static void Start(const Environment& env, OperationRegistry& registry, CleanUpTarget target,
                    std::vector<NodeIndex> nodes, Begin begin = Begin::kNow);

  void OnReply(NodeIndex node, NodeReply reply) override;

 private:
  CleanUp(const Environment& env, OperationRegistry& registry, CleanUpTarget target);
  void Ask();
  void PauseOrEnd();
  void End();

  const Environment& env_;
  OperationRegistry& registry_;
  const CleanUpTarget target_;
  const MonotonicTime deadline_;
  std::vector<NodeIndex> to_ask_;  // have not answered, and are not being asked
  std::size_t asking_ = 0;
  Duration pause_;
  TimerHandle timer_;
};

}  // namespace redlock
