// Gives a lock back on all nodes on which the token holds the key. Decided at the majority; nodes
// that do not answer are asked again in the background for release_timeout.
//
// A token that its owner may use again is sealed (see ReleaseStep::seal). The seal is proposed from
// this daemon's wall clock. If it is not above the holder's fence, because another daemon's clock
// is ahead, the release is repeated with a higher one, for as long as the caller has not been
// answered: until then the owner does not use the token again. And "not held" is then answered only
// when no copy of the release can be on its way any more, because nothing has been sealed.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "server/core/operation.h"
#include "server/core/rounds/clean_up.h"
#include "server/core/rounds/round.h"

namespace redlock {

struct ReleaseCommand {
  Key key;
  OwnerToken token;
  // Set if this stream has ended. See ReleaseStep::at_end_of. `fence` is the lease's then, as far
  // as the stream knows: a later hold by the same token has a higher one, and is left alone.
  std::optional<Keeper> at_end_of = {};
  FencingToken fence = {};
  Source source = {};
};

struct ReleaseResult {
  std::optional<Error> error;  // unset on success
  Votes votes;
  int listeners = 0;  // most daemons that heard the announcement on one node
};
using ReleaseDone = std::function<void(ReleaseResult)>;

// Whether a token must not be used again after its release, which then needs no seal.
[[nodiscard]] inline bool IsUsedOnce(const OwnerToken& token) {
  return token.value().starts_with(kMadeTokenPrefix);
}

class ReleaseOperation final : public Operation,
                               public Round::Listener,
                               public std::enable_shared_from_this<ReleaseOperation> {
 public:
  // `done` is called once, never inside this call.
  static void Start(const Environment& env, OperationRegistry& registry, ReleaseCommand command,
                    ReleaseDone done);
  ~ReleaseOperation() override;

  void OnDecided(Round& round) override;
  void OnLate(Round& round, NodeIndex node, const NodeReply& reply) override;

 private:
  // What is known of one node, from all rounds.
  struct NodeState {
    int on_the_way = 0;  // copies of the release that it has not answered
    bool lost = false;   // one of them may reach it though no answer will come
    bool released = false;
    bool sealed = false;
    bool not_held = false;
    bool failed = false;  // it is owed another release
  };

  ReleaseOperation(const Environment& env, OperationRegistry& registry, ReleaseCommand command,
                   ReleaseDone done);
  void Send();
  void TakeIn(NodeIndex node, const NodeReply& reply);
  [[nodiscard]] bool RaiseSeal(const Round& round);
  [[nodiscard]] Verdict verdict() const;
  // Whether a late copy of this release could end a later hold by the same token.
  [[nodiscard]] bool CanEndALaterHold() const;
  // Whether nodes may be asked again in the background.
  [[nodiscard]] bool MayRepeat() const;
  void AnswerIfDecided();
  void End();
  [[nodiscard]] CleanUpTarget Rest() const;
  void Answer(std::optional<Error> error);

  const Environment& env_;
  OperationRegistry& registry_;
  const ReleaseCommand command_;
  FencingToken seal_;  // 0: not sealed
  int seals_ = 0;
  ReleaseDone done_;
  std::vector<NodeState> nodes_;
  Votes votes_;
  int listeners_ = 0;
  const Round* round_ = nullptr;  // the last one, for comparison only
  bool settling_ = false;         // the last round is decided: late answers are waited for
  TimerHandle timeout_;
  ConcurrencyLimiter::Permit permit_;
};

}  // namespace redlock
