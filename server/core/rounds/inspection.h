// Asks every node who holds a key. Read-only. Waits for all nodes, for up to node_timeout. Takes a
// permit, because a reply can have 1 MiB, and the nodes do nothing else meanwhile.
// Strand-confined.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/core/operation.h"
#include "server/core/rounds/environment.h"

namespace redlock {

struct InspectResult {
  bool held = false;  // a quorum holds the same token, or a share of the same token
  // A valid lease cannot be ruled out: unknown nodes could complete a quorum, or the node set has
  // just changed.
  bool undecided = false;
  // Those who hold the key: one, unless the key is shared or a semaphore.
  struct Holder {
    Owner owner;
    FencingToken fence;    // the highest that a node stores for it
    int slot = 0;          // of a semaphore
    Duration remaining{};  // until no quorum holds the token any more
    // The fence that a quorum stores for it, as Agreement counts nodes.
    std::optional<FencingToken> agreed = {};
  };
  std::vector<Holder> held_by;
  // What a quorum of nodes agrees on. A node that is quarantined, belongs to another node set or
  // does not answer never counts for it, but may be one that has a holder.
  enum class Agreement {
    kNone,
    kHeld,    // for each token that may have a quorum, a quorum stores the same fence
    kVacant,  // a quorum has no holder, and no token can have a quorum
  };
  Agreement agreement = Agreement::kNone;
  bool shared = false;   // the key is shared or a semaphore
  int limit = 0;         // of the semaphore, if the key is held as one
  FencingToken fence;    // the highest stored fence
  Duration remaining{};  // until no quorum holds any token any more
  // If nobody holds the key: how long a quorum still refuses it to everyone, as the last
  // holder requested.
  Duration kept_for{};
  Votes votes;
  // Every token that holds the key on some node, or keeps it taken there; never displayed.
  std::vector<OwnerToken> holders;
};
using InspectDone = std::function<void(InspectResult)>;

class Inspection final : public Cancellable,
                         public ReplySink,
                         public std::enable_shared_from_this<Inspection> {
 public:
  // `observe`: the nodes then announce changes of the key for some time.
  static std::shared_ptr<Inspection> Start(const Environment& env, Key key, InspectDone done,
                                           Source source = {}, bool observe = false);

  // The result is undecided. Keeps the permit while nodes have yet to answer.
  void Cancel(Reason why) override;

  void OnReply(NodeIndex node, NodeReply&& reply) override;

 private:
  Inspection(const Environment& env, Key key, InspectDone done, bool observe);
  void Send();
  void Finish();
  void End();

  const Environment& env_;
  const Key key_;
  InspectDone done_;  // null once it was called
  const bool observe_;
  bool ended_ = false;
  ConcurrencyLimiter::Permit permit_;
  // Set once the nodes are asked.
  MonotonicTime started_;
  NodeSetPtr set_;
  std::optional<Duration> quorum_after_;  // how long it took until a quorum had answered
  // What the nodes know of a token that holds the key or a share of it.
  struct Holding {
    std::vector<Duration> remaining;  // one for each node
    std::size_t barred = 0;           // nodes among them that are quarantined
    // How many of the other nodes store each fence.
    std::map<FencingToken, std::size_t> fences;
    Owner owner;
    FencingToken fence;
    int slot = 0;
    bool is_share = false;  // or a slot
  };
  void Add(const NodeReply& reply);
  [[nodiscard]] std::optional<FencingToken> AgreedFence(const Holding& holding) const;

  std::map<std::string, Holding> holdings_;  // by token
  std::vector<Duration> kept_;     // by each node on which nobody holds the key, but it is taken
  std::set<std::string> keeping_;  // all tokens
  std::vector<int> limits_;  // that the nodes with a holder name; 0 if the key is a lock there
  std::vector<bool> answered_;
  std::size_t cannot_tell_ = 0;  // nodes that did not answer, or that may have forgotten locks
  std::size_t vacant_ = 0;       // nodes that have no holder and are not among those
  FencingToken highest_;
  Votes votes_;
  TimerHandle timeout_;
};

}  // namespace redlock
