// Checks what one observer of a key is told.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "server/core/keys/observed_state.h"
#include "tests/sim/cluster.h"
#include "tests/sim/oracle.h"

namespace redlock::sim {

// What the nodes have answered to reads.
class ReadLog {
 public:
  ReadLog() = default;  // empty
  ReadLog(World& world, Cluster& cluster) {
    for (std::size_t node = 0; node < cluster.nodes(); ++node) {
      cluster.server(node).ShowReads([this, &world, node](const auto& key, const NodeReply& reply) {
        Answer answer{.at = world.now(), .node = node};
        for (const Share& share : reply.shares) answer.fences.insert(share.fence);
        const bool held = reply.outcome == Outcome::kGranted;
        if (held && !IsMarker(reply.holder.value())) answer.fences.insert(reply.fence);
        answer.vacant = reply.outcome == Outcome::kNotHeld;
        answers_[key].push_back(std::move(answer));
      });
    }
  }
  // How many nodes have named a holder with this fence in that time.
  [[nodiscard]] std::size_t Named(const std::string& key, FencingToken fence, MonotonicTime from,
                                  MonotonicTime to) const {
    return Count(key, from, to, [fence](const Answer& a) { return a.fences.contains(fence); });
  }
  // How many have named none.
  [[nodiscard]] std::size_t Vacant(const std::string& key, MonotonicTime from,
                                   MonotonicTime to) const {
    return Count(key, from, to, [](const Answer& a) { return a.vacant; });
  }

 private:
  struct Answer {
    MonotonicTime at;
    std::size_t node = 0;
    std::set<FencingToken> fences = {};
    bool vacant = false;
  };
  [[nodiscard]] std::size_t Count(const std::string& key, MonotonicTime from, MonotonicTime to,
                                  const std::function<bool(const Answer&)>& counts) const {
    std::set<std::size_t> nodes;
    const auto found = answers_.find(key);
    if (found == answers_.end()) return 0;
    for (const Answer& answer : found->second) {
      if (answer.at >= from && answer.at <= to && counts(answer)) nodes.insert(answer.node);
    }
    return nodes.size();
  }

  std::map<std::string, std::vector<Answer>> answers_;
};

class ObserverOracle {
 public:
  // `quorum`: 0 if the node set changes, so that it is not known.
  ObserverOracle(std::string key, const Oracle& leases, const ReadLog& reads, std::size_t quorum)
      : key_(std::move(key)), leases_(leases), reads_(reads), quorum_(quorum) {}

  void Told(const Observed& state) {
    ++told_;
    // The last vote ends the read.
    Duration took{};
    for (const Vote& vote : state.votes) took = std::max(took, vote.latency);
    const MonotonicTime began = state.at - took;
    switch (state.state) {
      case Observed::State::kHeld:
        if (state.fence < highest_) Fault("is told of a lower fence");
        if (!state.shared && state.held_by.size() != 1) Fault("is told of several holders");
        for (const InspectResult::Holder& holder : state.held_by) {
          if (!state.shared && holder.fence < highest_) Fault("is told of an earlier holder");
          if (reads_.Named(key_, holder.fence, began, state.at) < quorum_) {
            Fault("is told of a holder that no quorum has named");
          }
        }
        highest_ = std::max(highest_, state.fence);
        break;
      case Observed::State::kVacant:
        if (leases_.HeldSince(key_, began, state.at)) Fault("is told that a held key is vacant");
        if (reads_.Vacant(key_, began, state.at) < quorum_) Fault("is told so without a quorum");
        break;
      case Observed::State::kUndecided:
        break;
    }
    last_ = state;
  }

  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }
  [[nodiscard]] const Observed& last() const { return last_; }
  [[nodiscard]] std::size_t told() const { return told_; }

 private:
  void Fault(const std::string& what) {
    violations_.push_back("an observer of " + key_ + " " + what);
  }

  const std::string key_;
  const Oracle& leases_;
  const ReadLog& reads_;
  const std::size_t quorum_;
  FencingToken highest_;
  Observed last_;
  std::size_t told_ = 0;
  std::vector<std::string> violations_;
};

}  // namespace redlock::sim
