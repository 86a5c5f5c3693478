// Releases a lock on all nodes on which the token holds the key. Decided at the majority. Nodes
// that do not answer are retried in the background for release_timeout.
//
// A token that its owner may use again is sealed (see ReleaseStep::seal). The seal is proposed from
// this daemon's wall clock. If it is not above the holder's fence, because another daemon's clock
// is ahead, the release is repeated with a higher seal until the caller has its answer; before
// that, the owner does not use the token again. Without a sealed quorum, success and "not held" are
// answered only when no copy of the release can still be in flight. Strand-confined.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "server/core/operation.h"
#include "server/core/passkey.h"
#include "server/core/rounds/clean_up.h"
#include "server/core/rounds/round.h"

namespace redlock {

struct ReleaseCommand {
  Key key;
  OwnerToken token;
  // Set if this stream has ended. See ReleaseStep::at_end_of. `fence` is then the fence of the
  // lease as the stream knows it. A later hold by the same token has a higher fence and is not
  // released.
  std::optional<Keeper> at_end_of = {};
  FencingToken fence = {};
  Source source = {};
  // The key stays taken until this long after its acquisition. See ReleaseStep::keep_for.
  Duration keep_for = {};
  // The stream ended without a request of the client: the key stays taken for its lock delay.
  bool leave_delay = false;
};

struct ReleaseResult {
  std::optional<Error> error;  // unset on success
  Votes votes;
  int listeners = 0;  // the largest number of daemons that received the announcement from one node
  bool still_shared = false;  // on so many nodes that no quorum is free for an exclusive holder
};
using ReleaseDone = std::function<void(ReleaseResult)>;

class ReleaseOperation final : public Operation,
                               public Round::Listener,
                               public std::enable_shared_from_this<ReleaseOperation> {
 public:
  // `done` is called once, never inside this call.
  static void Start(const Environment& env, ReleaseCommand command, ReleaseDone done);
  ~ReleaseOperation() override;

  void OnDecided(Round& round) override;
  void OnLate(Round& round, NodeIndex node, const NodeReply& reply) override;

  ReleaseOperation(Passkey<ReleaseOperation> key, const Environment& env, ReleaseCommand command,
                   ReleaseDone done);

 private:
  // The state of one node, from all rounds.
  struct NodeState {
    int on_the_way = 0;  // copies of the release that the node has not answered
    bool lost = false;   // a copy may still arrive although no answer will come
    bool released = false;
    bool sealed = false;
    bool not_held = false;
    bool still_shared = false;
    bool failed = false;  // the release must be retried on this node
  };

  void Send();
  void TakeIn(NodeIndex node, const NodeReply& reply);
  [[nodiscard]] bool RaiseSeal(const Round& round);
  [[nodiscard]] Verdict verdict() const;
  // Whether a late copy of this release could end a later hold by the same token.
  [[nodiscard]] bool CanEndALaterHold() const;
  // Whether nodes may be retried in the background.
  [[nodiscard]] bool MayRepeat() const;
  void AnswerIfDecided();
  void End();
  void Answer(std::optional<Error> error);

  const Environment& env_;
  const ReleaseCommand command_;
  ReleaseStep step_;
  int seals_ = 0;
  ReleaseDone done_;
  const NodeSetPtr set_;
  std::vector<NodeState> nodes_;
  Votes votes_;
  int listeners_ = 0;
  const Round* round_ = nullptr;  // the last round, for comparison only
  bool settling_ = false;         // the last round is decided; waiting for late answers
  TimerHandle timeout_;
  ConcurrencyLimiter::Permit permit_;
};

}  // namespace redlock
