// The releaser's side of a hand-over: the lock passes from a holder that releases it to the first
// waiter in one round. Attempt::TakeOver is the other side. The releaser gets its answer as soon as
// a quorum no longer holds its token, without waiting for the result of the acquisition.
// Strand-confined.
#pragma once

#include <memory>
#include <vector>

#include "server/core/nodes/quorum.h"
#include "server/core/operation.h"
#include "server/core/rounds/release.h"

namespace redlock {

class HandOver final : public Operation, public std::enable_shared_from_this<HandOver> {
 public:
  // `done` is called once, never inside this call.
  static std::shared_ptr<HandOver> Start(const Environment& env, Key key, OwnerToken token,
                                         ReleaseDone done);
  ~HandOver() override;

  // What is handed over. Of a semaphore, the slot.
  [[nodiscard]] const Key& key() const { return key_; }
  // The releaser's token.
  [[nodiscard]] const OwnerToken& token() const { return token_; }

  // Sets the next holder's fence, which seals the token against its own late releases, like the
  // seal of a Release.
  void Proposed(FencingToken fence) { seal_ = fence; }
  // Adds a vote of the round. The last vote of each node counts.
  void OnReply(NodeIndex node, const NodeReply& reply);
  // The other side needs no more votes. Waits for the pending ones for up to node_timeout, then
  // releases on the nodes that are not known to have released the token.
  void Settle();

 private:
  HandOver(const Environment& env, Key key, OwnerToken token, ReleaseDone done);
  class Rest;

  [[nodiscard]] FencingToken SealOfToken() const;
  // Another token holds one of several keys on this node, and the releaser's may hold others there.
  // Or holders share the key, or it is a semaphore, and the releaser may be one of the holders,
  // with another slot than this daemon knows.
  void ReleaseRest(NodeIndex node);
  void OnRest(NodeIndex node, NodeReply reply);
  void Count(NodeIndex node, Outcome outcome, std::string message);
  [[nodiscard]] Verdict verdict() const;
  [[nodiscard]] bool AllIn() const;
  // Whether a late copy of a request could end a later hold by the releaser's token.
  [[nodiscard]] bool CanEndALaterHold() const;
  void AnswerIfDecided();
  void End();
  void Answer(std::optional<Error> error);

  const Environment& env_;
  const Key key_;
  const OwnerToken token_;
  FencingToken seal_;
  const MonotonicTime started_;
  ReleaseDone done_;
  const NodeSetPtr set_;
  std::vector<std::optional<Vote>> votes_;  // granted: the node released the token
  bool all_sealed_ = true;  // every node that released the token has stored the seal for all keys
  bool settling_ = false;
  bool ended_ = false;
  TimerHandle timeout_;
};

}  // namespace redlock
