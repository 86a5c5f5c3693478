// The releaser's side of a hand-over: the lock goes from a holder that releases it to the first
// that waits, in one round (Attempt::TakeOver is the other side). The releaser is answered as soon
// as a quorum has let go of its token; it does not wait for what becomes of the lock.
#pragma once

#include <memory>
#include <vector>

#include "server/core/nodes/quorum.h"
#include "server/core/operation.h"
#include "server/core/rounds/release.h"

namespace redlock {

// One thread.
class HandOver final : public Operation, public std::enable_shared_from_this<HandOver> {
 public:
  // `done` is called once, never inside this call.
  static std::shared_ptr<HandOver> Start(const Environment& env, OperationRegistry& registry,
                                         Key key, OwnerToken token, ReleaseDone done);
  ~HandOver() override;

  // What is handed over from.
  [[nodiscard]] const OwnerToken& token() const { return token_; }

  // The next holder's fence: it seals the token's late releases, as Release does by itself.
  void Proposed(FencingToken fence) { seal_ = fence; }
  // A vote of the round. The last one of each node counts.
  void OnReply(NodeIndex node, const NodeReply& reply);
  // The other side needs no further vote. Those still out are waited for no longer than
  // node_timeout; nodes of which it is not known that they have let go are asked to.
  void Settle();

 private:
  HandOver(const Environment& env, OperationRegistry& registry, Key key, OwnerToken token,
           ReleaseDone done);
  [[nodiscard]] Verdict verdict() const;
  // Whether a late copy of a request could end a later hold by the releaser's token.
  [[nodiscard]] bool CanEndALaterHold() const;
  void AnswerIfDecided();
  void End();
  void Answer(std::optional<Error> error);

  const Environment& env_;
  OperationRegistry& registry_;
  const Key key_;
  const OwnerToken token_;
  FencingToken seal_;
  const MonotonicTime started_;
  ReleaseDone done_;
  std::vector<std::optional<Vote>> votes_;  // granted: the node let go of the token
  bool settling_ = false;
  bool ended_ = false;
  TimerHandle timeout_;
};

}  // namespace redlock
