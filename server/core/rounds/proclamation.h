// Replaces the value that a holder publishes with its lock. Decided at the majority.
//
// Each proclamation has a number, proposed like a fence. A node takes a value only if its number is
// above that of the value that it stores. Readers take the value with the highest number in their
// quorum, and extensions carry it to the nodes that missed it. Strand-confined.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "server/core/operation.h"
#include "server/core/rounds/round.h"

namespace redlock {

struct ProclaimCommand {
  Key key;
  OwnerToken token;
  PublishedValue value;
  Source source = {};
};

struct ProclaimResult {
  std::optional<Error> error;  // unset on success
  Votes votes;
};
using ProclaimDone = std::function<void(ProclaimResult)>;

class Proclamation final : public Operation,
                           public Round::Listener,
                           public std::enable_shared_from_this<Proclamation> {
 public:
  // `done` is called once, never inside this call. A round that is not decided may still take
  // effect on the nodes.
  static void Start(const Environment& env, ProclaimCommand command, ProclaimDone done);

  void OnDecided(Round& round) override;
  void OnLate(Round& /*round*/, NodeIndex /*node*/, const NodeReply& /*reply*/) override {}

 private:
  Proclamation(const Environment& env, ProclaimCommand command, ProclaimDone done);
  void Propose();
  void Finish(std::optional<Error> error, const Votes& votes);

  const Environment& env_;
  const ProclaimCommand command_;
  ProclaimDone done_;
  int proposals_ = 0;
  ConcurrencyLimiter::Permit permit_;
};

}  // namespace redlock
