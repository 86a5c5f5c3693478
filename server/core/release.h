// Gives a lock back on all nodes where the token holds the key. Decided at the majority; nodes
// that do not answer are asked again in the background for release_timeout.
#pragma once

#include <functional>
#include <memory>

#include "server/core/clean_up.h"
#include "server/core/operation.h"
#include "server/core/round.h"

namespace redlock {

struct ReleaseResult {
  std::optional<Error> error;  // unset on success
  Votes votes;
  int listeners = 0;  // most daemons that heard the announcement on one node
};
using ReleaseDone = std::function<void(ReleaseResult)>;

// Where leases are released from. Those who wait at this daemon have their turn first.
class Releaser {
 public:
  virtual ~Releaser() = default;
  // `done` is called once, never inside this call.
  virtual void Release(Key key, OwnerToken token, ReleaseDone done) = 0;
  // The stream that kept the lease has ended. See ReleaseStep::unless_adopted_from.
  virtual void ReleaseUnlessAdopted(Key key, OwnerToken token, AttemptId acquired_by) = 0;
};

class ReleaseOperation final : public Operation,
                               public Round::Listener,
                               public std::enable_shared_from_this<ReleaseOperation> {
 public:
  // `done` is called once, never inside this call.
  static void Start(const Environment& env, OperationRegistry& registry, Key key, OwnerToken token,
                    std::optional<AttemptId> unless_adopted_from, ReleaseDone done);
  ~ReleaseOperation() override;

  // The release goes on; only its caller is told.
  void Cancel(Reason why) override;

  void OnDecided(Round& round) override;
  void OnLate(Round& round, NodeIndex node, const NodeReply& reply) override;

 private:
  ReleaseOperation(const Environment& env, OperationRegistry& registry, Key key, OwnerToken token,
                   std::optional<AttemptId> unless_adopted_from, ReleaseDone done);
  void Send();
  [[nodiscard]] CleanUpTarget Rest() const;
  void Tell(ReleaseResult result);

  const Environment& env_;
  OperationRegistry& registry_;
  const Key key_;
  const OwnerToken token_;
  const FencingToken seal_;
  const std::optional<AttemptId> unless_adopted_from_;
  ReleaseDone done_;
  RoundWindow::Place place_;
};

}  // namespace redlock
