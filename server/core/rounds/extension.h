// Extends a held lock on a quorum, and then heals the nodes that have lost it.
//
// An extension wins with a quorum of nodes that still held the token. Only when it has won are
// nodes without the key given it back, so a heal never counts in its own round, and nothing is put
// back for a token that has lost its lock.
//
// The fence of a lease must be stored by a quorum, or a later holder could get a lower one. If the
// nodes that granted disagree (a node was healed, or took part in only one of two attempts), or
// know no fence of this holder (another library took the lock), a second round raises all of them
// to a new one, above all that they store, before the extension counts.
//
// An adoption is an extension after which the lease belongs to another stream (see Keeper).
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "server/core/operation.h"
#include "server/core/retry_policy.h"
#include "server/core/rounds/round.h"

namespace redlock {

struct ExtendCommand {
  // How the lease comes to belong to `keeper`, if it does not yet.
  enum class Adopt {
    kNot,
    kInSequence,  // unless it belongs to a stream whose number is not lower: then kLockNotHeld
    kAsLast,      // in any case: the number is chosen here
  };

  Key key;
  OwnerToken token;
  Duration ttl{};
  RetryPolicy retry;  // only undecided rounds are repeated, and for no longer than ttl
  std::optional<MonotonicTime> deadline;
  FencingToken raise_to;              // 0: as the nodes have it
  std::optional<Keeper> keeper = {};  // the stream that extends, if a stream does
  Adopt adopt = Adopt::kNot;
  // The lease is known to be held: it was extended before.
  bool held = false;
  Source source = {};
};

struct ExtendResult {
  std::optional<Lease> lease;  // set on success
  Error error;                 // else this says why
  Votes votes;
  int attempts = 0;
};
using ExtendDone = std::function<void(ExtendResult)>;

class Extension final : public Cancellable,
                        public Round::Listener,
                        public std::enable_shared_from_this<Extension> {
 public:
  // `done` is called once, never inside this call.
  static std::shared_ptr<Extension> Start(const Environment& env, OperationRegistry& registry,
                                          ExtendCommand command, ExtendDone done);

  // A round under way may still take effect on the nodes.
  void Cancel(Reason why) override;

  void OnDecided(Round& round) override;
  void OnLate(Round& round, NodeIndex node, const NodeReply& reply) override;

 private:
  Extension(const Environment& env, OperationRegistry& registry, ExtendCommand command,
            ExtendDone done);
  void Enter();
  void Attempt();
  void Won(Round& round);
  // Whether a round that was not won is repeated as a later adoption.
  [[nodiscard]] bool AdoptAgain(const Round& round);
  void Failed(const Round& round, Reason reason, std::string message);
  void Repair(NodeIndex node);
  void Finish(ExtendResult result);

  const Environment& env_;
  OperationRegistry& registry_;
  ExtendCommand command_;
  ExtendDone done_;
  const MonotonicTime give_up_;
  int attempts_ = 0;
  int raises_ = 0;
  int adoptions_ = 0;
  ConcurrencyLimiter::Permit permit_;  // while a round is under way
  std::shared_ptr<Round> round_;
  Votes last_votes_;
  TimerHandle deadline_timer_;
  TimerHandle retry_timer_;
  // Once won: what a node without the key is healed with, and the round it may still answer in
  // (for comparison only).
  std::optional<Lease> lease_;
  std::optional<Keeper> confirmed_keeper_;  // that the quorum knows
  const Round* winner_ = nullptr;
};

}  // namespace redlock
