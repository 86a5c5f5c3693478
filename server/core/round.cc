#include "server/core/round.h"

#include <utility>

namespace redlock {

Round::Round(const Environment& env, Rule rule, std::shared_ptr<Listener> listener,
             AttemptId attempt)
    : env_(env),
      rule_(rule),
      listener_(std::move(listener)),
      attempt_(attempt),
      started_(env.scheduler.Now()),
      tally_(env.nodes.size()),
      replies_(env.nodes.size()),
      answered_(env.nodes.size(), false) {
  votes_.reserve(env.nodes.size());
}

std::shared_ptr<Round> Round::Start(const Environment& env, Rule rule, const Send& send,
                                    std::shared_ptr<Listener> listener, AttemptId attempt) {
  // The clock is read before the first byte is sent: validity counts from here.
  auto round = std::shared_ptr<Round>(new Round(env, rule, std::move(listener), attempt));
  for (Node* node : env.nodes) send(*node, round);
  round->timeout_ = env.scheduler.At(round->started_ + env.options.node_timeout,
                                     [raw = round.get()] { raw->TimeOut(); });
  return round;
}

void Round::Abandon() {
  decided_ = true;
  timeout_.Cancel();
}

void Round::OnReply(NodeIndex node, NodeReply reply) {
  replies_[node] = std::move(reply);
  answered_[node] = true;
  if (decided_) {
    listener_->OnLate(*this, node, replies_[node]);
    return;
  }
  Count(node, replies_[node].outcome, replies_[node].message);
  DecideIfReady();
}

void Round::Count(NodeIndex node, Outcome outcome, std::string message) {
  switch (rule_(outcome)) {
    case Counts::kAsGrant:
      tally_.Grant();
      break;
    case Counts::kAsDenial:
      tally_.Deny();
      break;
    case Counts::kAsUnknown:
      tally_.Fail();
      break;
  }
  votes_.push_back({node, outcome, std::move(message), env_.scheduler.Now() - started_});
}

void Round::DecideIfReady() {
  if (tally_.verdict() == Verdict::kPending) return;
  decided_ = true;
  timeout_.Cancel();
  listener_->OnDecided(*this);
}

void Round::TimeOut() {
  // A pending node keeps this alive; the listener may drop the last other reference.
  const auto self = shared_from_this();
  for (NodeIndex node = 0; node < answered_.size(); ++node) {
    if (!answered_[node]) Count(node, Outcome::kTimeout, "no answer within the node timeout");
  }
  DecideIfReady();
}

}  // namespace redlock
