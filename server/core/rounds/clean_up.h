// Releases a key in the background on nodes that hold, or may hold, a key without a valid lease:
// the roll-back of a failed acquisition, and the nodes that have not answered a release.
#pragma once

#include <memory>
#include <vector>

#include "server/core/backoff.h"
#include "server/core/operation.h"
#include "server/core/rounds/environment.h"

namespace redlock {

// Retries on each node until it has answered, for up to release_timeout. Strand-confined.
class CleanUp final : public Operation,
                      public ReplySink,
                      public std::enable_shared_from_this<CleanUp> {
 public:
  enum class Begin { kNow, kAfterPause };

  static void Start(const Environment& env, ReleaseStep step, std::vector<NodeIndex> nodes,
                    Begin begin = Begin::kNow);

  void OnReply(NodeIndex node, NodeReply&& reply) override;

 private:
  CleanUp(const Environment& env, ReleaseStep step);
  void Ask();
  void PauseOrEnd();
  void End();

  const Environment& env_;
  const ReleaseStep step_;
  const MonotonicTime deadline_;
  std::vector<NodeIndex> to_ask_;  // have not answered, and no request is in flight
  std::size_t asking_ = 0;
  Backoff backoff_;
  TimerHandle timer_;
};

}  // namespace redlock
