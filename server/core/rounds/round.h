// Sends one step to every member of the node set in parallel, and decides at the majority.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "server/core/nodes/quorum.h"
#include "server/core/passkey.h"
#include "server/core/rounds/environment.h"

namespace redlock {

// Collects the answers to one step. Lives until every node has answered, so that no late answer is
// missed. Strand-confined.
class Round final : public ReplySink, public std::enable_shared_from_this<Round> {
 public:
  // How an outcome counts in this kind of round.
  enum class Counts { kAsGrant, kAsDenial, kAsUnknown };
  using Rule = Counts (*)(Outcome);
  // The rule that all kinds of rounds share. They differ in how they count a node without the key.
  [[nodiscard]] static Counts CountVote(Outcome outcome, Counts not_held);
  using Send = std::function<void(Node&, std::shared_ptr<ReplySink>)>;

  // Receives the verdict once, and then every later answer. The round keeps it alive until the last
  // answer.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void OnDecided(Round& round) = 0;
    virtual void OnLate(Round& round, NodeIndex node, const NodeReply& reply) = 0;
  };

  // Sends the step to all members. The listener is not called inside this call. Nodes that have not
  // answered after node_timeout count as timed out, and members that are not configured as failed.
  static std::shared_ptr<Round> Start(const Environment& env, Rule rule, const Send& send,
                                      std::shared_ptr<Listener> listener, AttemptId attempt = {});
  // The same, but unless a quorum grants, waits for all members before it decides.
  static std::shared_ptr<Round> StartPatiently(const Environment& env, Rule rule, const Send& send,
                                               std::shared_ptr<Listener> listener);
  // Sends the step to all configured nodes. Only members have a vote.
  static std::shared_ptr<Round> StartEverywhere(const Environment& env, Rule rule, const Send& send,
                                                std::shared_ptr<Listener> listener);

  // Asks only `first`, and the others after it has granted. If it denies, that is the verdict. If
  // it does not answer, the next node is asked first.
  static std::shared_ptr<Round> StartOneFirst(const Environment& env, Rule rule, Send send,
                                              std::shared_ptr<Listener> listener, AttemptId attempt,
                                              NodeIndex first);

  // No verdict is needed any more: every further answer is late.
  void Abandon();

  [[nodiscard]] Verdict verdict() const {
    return denied_by_first_ ? Verdict::kDenied : tally_.verdict();
  }
  [[nodiscard]] const Votes& votes() const { return votes_; }
  [[nodiscard]] const NodeSet& set() const { return *set_; }
  [[nodiscard]] MonotonicTime started() const { return started_; }
  [[nodiscard]] AttemptId attempt() const { return attempt_; }

  // Why the round could not be decided: kQuorumUnavailable, or kNodeSetMismatch if waiting for
  // nodes does not help.
  [[nodiscard]] Error WhyUndecided() const;

  // The node's answer; null if there is none. A timeout is not an answer.
  [[nodiscard]] const NodeReply* reply(NodeIndex node) const {
    return nodes_[node].reply ? &*nodes_[node].reply : nullptr;
  }

  // False if a one-first round has not asked this node yet.
  [[nodiscard]] bool was_asked(NodeIndex node) const { return nodes_[node].asked_at.has_value(); }

  void OnReply(NodeIndex node, NodeReply&& reply) override;

  Round(Passkey<Round> key, const Environment& env, Rule rule, std::shared_ptr<Listener> listener,
        AttemptId attempt);

 private:
  struct Asked {
    std::optional<MonotonicTime> asked_at;  // unset: not asked
    std::optional<NodeReply> reply;
  };

  [[nodiscard]] bool IsCounted(NodeIndex node) const;
  void Ask(NodeIndex node);
  void AskAll(std::span<const NodeIndex> nodes, const Send& send);
  [[nodiscard]] bool IsOutdated() const;
  void GiveUpTheRest();
  void AskTheRest();
  void AskAnotherFirst(NodeIndex after);
  // The nodes that are being asked have been since `asked`.
  void SetTimeout(MonotonicTime asked);
  [[nodiscard]] Counts Count(NodeIndex node, Outcome outcome, std::string message,
                             MonotonicTime now);
  void DecideIfReady(MonotonicTime now);
  void TellWindow(MonotonicTime now);
  void TimeOut();

  const Environment& env_;
  const Rule rule_;
  const std::shared_ptr<Listener> listener_;
  const AttemptId attempt_;  // for an acquisition
  const NodeSetPtr set_;
  const MonotonicTime started_;
  Tally tally_;
  Votes votes_;
  std::vector<Asked> nodes_;
  std::optional<NodeIndex> first_;  // being asked; the others wait for it
  Send send_;                       // set while they wait
  bool denied_by_first_ = false;
  bool patient_ = false;
  TimerHandle timeout_;
  bool decided_ = false;
};

}  // namespace redlock
