#include "server/core/rounds/proclamation.h"

#include <utility>

#include "server/core/check.h"

namespace redlock {
namespace {

// A number is refused once if another daemon's clock is ahead, and again only if another
// proclamation arrived in between.
constexpr int kMaxNumbers = 4;

Round::Counts CountProclamation(Outcome outcome) {
  return Round::CountVote(outcome, Round::Counts::kAsDenial);
}

}  // namespace

void Proclamation::Start(const Environment& env, ProclaimCommand command, ProclaimDone done) {
  const std::shared_ptr<Proclamation> self(
      new Proclamation(env, std::move(command), std::move(done)));
  env.operations.Add(self);
  env.limiter.Enter(self->permit_, ConcurrencyLimiter::Priority::kExtensions, self->command_.source,
                    [raw = self.get()] { raw->Propose(); });
}

Proclamation::Proclamation(const Environment& env, ProclaimCommand command, ProclaimDone done)
    : env_(env), command_(std::move(command)), done_(std::move(done)) {}

void Proclamation::Propose() {
  ++proposals_;
  const std::uint64_t number = env_.fences.Next(env_.scheduler.WallNow()).value;
  Round::Start(
      env_, CountProclamation,
      [this, number](Node& node, std::shared_ptr<ReplySink> sink) {
        node.Proclaim({.key = command_.key,
                       .token = command_.token,
                       .value = command_.value,
                       .number = number},
                      std::move(sink));
      },
      shared_from_this());
}

void Proclamation::OnDecided(Round& round) {
  const auto self = shared_from_this();
  for (NodeIndex node = 0; node < env_.nodes.size(); ++node) {
    if (const NodeReply* reply = round.reply(node)) env_.fences.Saw(reply->fence);
  }
  switch (round.verdict()) {
    case Verdict::kReached:
      Finish(std::nullopt, round.votes());
      return;
    case Verdict::kDenied:
      Finish(Error{.reason = Reason::kLockNotHeld, .message = "this token does not hold the key"},
             round.votes());
      return;
    case Verdict::kPending:
    case Verdict::kUnreachable:
      break;
  }
  if (Any(round.votes(), Outcome::kStaleFence) && proposals_ < kMaxNumbers) {
    Propose();
    return;
  }
  Error error = round.WhyUndecided();
  error.message += "; observers may see the value or not, now or later";
  Finish(std::move(error), round.votes());
}

void Proclamation::Finish(std::optional<Error> error, const Votes& votes) {
  REDLOCK_CHECK(done_ != nullptr);
  permit_.Leave();
  env_.operations.Remove(*this);
  std::exchange(done_, nullptr)({.error = std::move(error), .votes = votes});
}

}  // namespace redlock
