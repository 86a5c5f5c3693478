#include "tests/sim/link.h"

#include <algorithm>
#include <utility>

namespace redlock::sim {
namespace {

// The texts of an expectation, which a request keeps on its way to the node.
struct KeptExpected {
  std::string stamp;
  std::string mark;
  // NOLINTNEXTLINE(google-explicit-constructor): it is an expectation
  operator Expected() const { return {stamp, mark}; }
};

KeptExpected Kept(const Expected& expected) {
  return {std::string(expected.stamp), std::string(expected.mark)};
}

}  // namespace

void Link::Acquire(const AcquireStep& step, std::shared_ptr<ReplySink> sink) {
  Send(
      [this, key = step.key.str(), token = step.token.str(), ttl = step.ttl, fence = step.fence,
       attempt = step.attempt, owner = step.owner, adopt = step.adopt,
       expected = Kept(step.expected), longest = step.longest] {
        return server_.Acquire(key, token, ttl, fence, attempt, owner, adopt, expected, longest);
      },
      std::move(sink), Kind::kAcquisition);
}

void Link::HandOver(const HandOverStep& step, std::shared_ptr<ReplySink> sink) {
  Send(
      [this, key = step.key.str(), from = step.from.str(), to = step.to.str(), ttl = step.ttl,
       fence = step.fence, attempt = step.attempt, owner = step.owner,
       expected = Kept(step.expected), longest = step.longest] {
        return server_.HandOver(key, from, to, ttl, fence, attempt, owner, expected, longest);
      },
      std::move(sink));
}

void Link::Extend(const ExtendStep& step, std::shared_ptr<ReplySink> sink) {
  Send(
      [this, key = step.key.str(), token = step.token.str(), ttl = step.ttl,
       raise_to = step.raise_to, keeper = step.keeper, adopt = step.adopt,
       expected = Kept(step.expected), downgrade_from = step.downgrade_from, longest = step.longest,
       least_delay = step.least_delay] {
        return server_.Extend(key, token, ttl, raise_to, keeper, adopt, expected, downgrade_from,
                              longest, least_delay);
      },
      std::move(sink));
}

void Link::Repair(const RepairStep& step, std::shared_ptr<ReplySink> sink) {
  Send(
      [this, key = step.key.str(), token = step.token.str(), ttl = step.ttl, fence = step.fence,
       keeper = step.keeper, counts = step.counts, owner = step.owner,
       expected = Kept(step.expected), held_for = step.held_for, longest = step.longest] {
        return server_.Repair(key, token, ttl, fence, keeper, counts, owner, expected, held_for,
                              longest);
      },
      std::move(sink));
}

void Link::Release(const ReleaseStep& step, std::shared_ptr<ReplySink> sink) {
  Send(
      [this, key = std::string(step.key.names()), token = step.token.str(),
       only = step.only_attempt, seal = step.seal, announce = step.announce,
       at_end_of = step.at_end_of, keep = Server::Keep{step.keep_for, step.leave_delay}] {
        return server_.Release(key, token, only, seal, announce, at_end_of, keep);
      },
      std::move(sink));
}

void Link::Intend(const IntendStep& step, std::shared_ptr<ReplySink> sink) {
  Send([this, name = std::string(step.key.names()), id = step.id,
        ttl = step.ttl] { return server_.Intend(name, id, ttl); },
       std::move(sink));
}

void Link::Proclaim(const ProclaimStep& step, std::shared_ptr<ReplySink> sink) {
  Send(
      [this, name = std::string(step.key.names()), token = step.token.str(), value = step.value,
       number = step.number, expected = Kept(step.expected)] {
        return server_.Proclaim(name, token, value, number, expected);
      },
      std::move(sink));
}

void Link::Inspect(const InspectStep& step, std::shared_ptr<ReplySink> sink) {
  Send([this, name = step.key.str(), expected = Kept(step.expected),
        observe = step.observe] { return server_.Inspect(name, expected, observe); },
       std::move(sink));
}

// The answer of the node travels in a NodeReply's stead.
void Link::AskSet(const SetStep& step, std::shared_ptr<SetSink> sink) {
  class Adapter final : public ReplySink {
   public:
    explicit Adapter(std::shared_ptr<SetSink> to) : sink(std::move(to)) {}
    void OnReply(NodeIndex node, NodeReply&& reply) override {
      if (!answer.answered || reply.outcome == Outcome::kError) {
        answer = {.state = {}, .error = reply.message};
      }
      sink->OnSetReply(node, answer);
    }
    const std::shared_ptr<SetSink> sink;
    SetReply answer;
  };
  auto adapter = std::make_shared<Adapter>(std::move(sink));
  Send(
      [this, step, adapter] {
        adapter->answer = server_.AskSet(step);
        return NodeReply{.outcome = Outcome::kGranted};
      },
      adapter, Kind::kOfGuard);
}

void Link::Probe(const Key& key, std::shared_ptr<ReplySink> sink) {
  Send([this, name = std::string(key.names())] { return server_.Probe(name); }, std::move(sink));
}

void Link::Mark(const MarkStep& step, std::shared_ptr<ReplySink> sink) {
  Send([this, from = step.from, to = step.to,
        stamp = std::string(step.stamp)] { return server_.Mark(from, to, stamp); },
       std::move(sink), Kind::kOfGuard);
}

void Link::TryGrant(std::shared_ptr<ReplySink> sink) {
  Send([this] { return server_.TryGrant(); }, std::move(sink), Kind::kOfGuard);
}

void Link::ReadMark(std::shared_ptr<ReplySink> sink) {
  Send([this] { return server_.ReadMark(); }, std::move(sink), Kind::kOfGuard);
}

void Link::ReadSettings(std::shared_ptr<ReplySink> sink) {
  Send([this] { return server_.ReadSettings(); }, std::move(sink), Kind::kOfGuard);
}

void Link::ObserveWith(NodeObserver* observer) {
  observer_ = observer;
  if (observer_ != nullptr) LogIn();
}

void Link::LogIn() {
  logged_in_ = observer_ == nullptr;
  const std::uint64_t connection = ++connection_;
  if (logged_in_ || down_) return;
  world_.Do(Delay(), [this, connection, asked = world_.now()] { AnswerLogIn(connection, asked); });
}

void Link::AnswerLogIn(std::uint64_t connection, MonotonicTime asked) {
  if (connection != connection_ || loses_requests_ || loses_replies_) return;
  if (paused_) {
    paused_work_.emplace_back([this, connection, asked] { AnswerLogIn(connection, asked); });
    return;
  }
  NodeFacts facts = server_.Facts();
  facts.asked = asked;
  world_.Do(Delay(), [this, connection, facts = std::move(facts)] {
    daemon_.Run([this, connection, facts]() mutable {
      facts.answered = world_.now();
      if (connection != connection_ || observer_ == nullptr) return;
      logged_in_ = true;
      has_been_up_ = true;
      observer_->OnConnected(index_, facts);
    });
  });
}

void Link::Subscribe(Topic topic, const Key& key) {
  const Channel channel{topic, key.str()};
  subscribed_.insert(channel);
  if (!down_) SendSubscribe(channel);
}

void Link::Unsubscribe(Topic topic, const Key& key) {
  subscribed_.erase({topic, key.str()});
  world_.Do(Delay(), [this, topic, name = key.str()] {
    if (!subscribed_.contains({topic, name})) server_.Unsubscribe(topic, name, this);
  });
}

void Link::SendSubscribe(const Channel& channel) {
  const std::uint64_t connection = listening_connection_;
  const auto still = [this, connection, channel] {
    return connection == listening_connection_ && subscribed_.contains(channel) &&
           announcements_ != nullptr;
  };
  world_.Do(Delay(), [this, channel, still] {
    if (!still() || paused_) return;  // the caller finds a stopped node when it sends a request
    server_.Subscribe(channel.first, channel.second, this, [this, channel, still](const auto&) {
      if (faults_.mutes > 0 && world_.Chance(faults_.mutes)) return;
      world_.Do(Delay(), [this, channel, still] {
        daemon_.Run([this, channel, still] {
          if (still()) announcements_->OnAnnounced(index_, channel.first, Key(channel.second));
        });
      });
    });
    world_.Do(Delay(), [this, channel, still] {
      daemon_.Run([this, channel, still] {
        if (still()) announcements_->OnListening(index_, channel.first, Key(channel.second));
      });
    });
  });
}

void Link::GoDeaf() {
  ++listening_connection_;
  for (const auto& [topic, key] : subscribed_) server_.Unsubscribe(topic, key, this);
  daemon_.Run([this] {
    if (announcements_ != nullptr) announcements_->OnDeaf(index_);
  });
}

void Link::ComeUp() {
  const bool was_cut = std::exchange(loses_requests_, false) | std::exchange(loses_replies_, false);
  if (was_cut) Break(false);
  if (!std::exchange(down_, false)) return;
  LogIn();
  for (const Channel& channel : subscribed_) SendSubscribe(channel);
}

Duration Link::Delay() {
  Duration delay = world_.Between(faults_.least_delay, faults_.most_delay);
  if (faults_.slow > 0 && world_.Chance(faults_.slow)) {
    delay += world_.Between({}, faults_.slow_delay);
  }
  return delay;
}

MonotonicTime Link::InOrder(MonotonicTime& last) {
  last = std::max(last, world_.now() + Delay());
  return last;
}

void Link::Cut(Direction direction) {
  (direction == Direction::kRequests ? loses_requests_ : loses_replies_) = true;
}

std::size_t Link::under_way() const {
  return static_cast<std::size_t>(std::count_if(
      calls_.begin(), calls_.end(), [](const auto& call) { return call->kind != Kind::kOfGuard; }));
}

void Link::Send(Work work, std::shared_ptr<ReplySink> sink, Kind kind) {
  ++requests_;
  auto call = std::make_shared<Call>(
      Call{.sink = std::move(sink), .run = server_.run(), .kind = kind, .sent = world_.now()});
  calls_.push_back(call);
  if (down_ || !logged_in_) {
    world_.Do({}, [this, call] {
      Answer(call, {.outcome = Outcome::kError, .message = "not connected", .never_sent = true});
    });
    return;
  }
  const MonotonicTime arrival = InOrder(last_request_);
  world_.Do(arrival - world_.now(), [this, work = std::move(work), call] { Deliver(work, call); });
  if (faults_.breaks > 0 && world_.Chance(faults_.breaks)) {
    world_.Do(world_.Between({}, faults_.most_delay * 4), [this] { Break(false); });
  }
}

void Link::Deliver(Work work, const std::shared_ptr<Call>& call) {
  if (loses_requests_ || call->run != server_.run()) return;
  if (paused_) {
    paused_work_.emplace_back([this, work = std::move(work), call] { Deliver(work, call); });
    return;
  }
  // The node may or may not have had the request of a broken connection in its buffer.
  if (call->answered && world_.Chance(0.5)) return;
  if (MeetsNoScript(*call)) {
    if (call->answered) return;
    constexpr Duration kLoading = microseconds(1);
    world_.Do(Delay() + kLoading + Delay(),
              [this, work = std::move(work), call] { Deliver(work, call); });
    return;
  }
  NodeReply reply = work();
  // Nodes report for how long a lease is held.
  const auto by_daemon = [this](Owner& owner) {
    if (owner.since == Duration()) return;
    owner.since = daemon_.WallNow().time_since_epoch() - (server_.Clock() - owner.since);
  };
  by_daemon(reply.owner);
  for (Share& share : reply.shares) by_daemon(share.owner);
  if (call->answered || loses_replies_) return;
  ShareClock(*call, reply);
  const MonotonicTime arrival = InOrder(last_reply_);
  world_.Do(arrival - world_.now(),
            [this, call, reply = std::move(reply)] { Answer(call, reply); });
}

// Acquisitions that arrive at the same time are carried out at once. Only the first grant has the
// node's clock.
void Link::ShareClock(const Call& call, NodeReply& reply) {
  if (!reply.clock) return;
  reply.sent = call.sent;
  if (call.kind != Kind::kAcquisition) return;
  if (std::exchange(clock_told_, world_.now()) == world_.now()) reply.clock.reset();
}

// Whether the node has lost its script when the request arrives. The request is then sent again,
// once.
bool Link::MeetsNoScript(Call& call) {
  if (call.sent_again || call.kind == Kind::kOfGuard) return false;
  call.sent_again = std::exchange(forgets_next_, false) ||
                    (faults_.forgets > 0 && world_.Chance(faults_.forgets));
  return call.sent_again;
}

void Link::Answer(const std::shared_ptr<Call>& call, NodeReply reply) {
  if (call->answered) return;
  call->answered = true;
  daemon_.Run([this, call, reply = std::move(reply)] {
    calls_.remove(call);
    call->sink->OnReply(index_, NodeReply(reply));
  });
}

void Link::Break(bool down) {
  down_ = down_ || down;
  GoDeaf();
  if (!down_) {
    for (const Channel& channel : subscribed_) SendSubscribe(channel);
  }
  last_request_ = {};
  last_reply_ = {};
  // Before any caller reacts to the loss: nothing is sent before the new connection's log-in.
  logged_in_ = observer_ == nullptr;
  ++connection_;  // the result of a log-in under way belongs to the previous connection
  const auto calls = calls_;
  for (const auto& call : calls) {
    Answer(call, {.outcome = Outcome::kError, .message = "connection lost"});
  }
  daemon_.Run([this] {
    if (observer_ == nullptr) return;
    observer_->OnDisconnected(index_, "connection lost");
    LogIn();
  });
}

void Link::Resume() {
  paused_ = false;
  for (const auto& deliver : std::exchange(paused_work_, {})) deliver();
}

}  // namespace redlock::sim
