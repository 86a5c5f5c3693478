#include "server/redis/redis_node.h"

#include <algorithm>
#include <utility>

#include "server/redis/replies.h"
#include "server/redis/server_info.h"

namespace redlock::redis {
namespace {

constexpr Duration kFirstBackoff = std::chrono::milliseconds(10);
constexpr Duration kLongestBackoff = std::chrono::milliseconds(500);
constexpr Duration kConnectTimeout = std::chrono::seconds(2);
// A connection on which nothing was answered for so long is given up and opened anew.
constexpr Duration kSilenceLimit = std::chrono::seconds(1);
constexpr Duration kOwnDelay = std::chrono::milliseconds(100);
// Only releases are sent to a node that does not answer, and no more than this.
constexpr std::size_t kMaxInFlight = 20'000;

std::string Meta(const Key& key) { return "redlockd:meta:{" + key.value() + "}"; }

std::string Millis(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

}  // namespace

struct RedisNode::Call {
  Script script;
  std::array<std::string, 3> keys;
  std::size_t key_count;
  std::array<std::string, 8> arguments;
  std::size_t argument_count;
  std::shared_ptr<ReplySink> sink;
  bool reloaded = false;

  Call(Script which, std::initializer_list<std::string> key_names,
       std::initializer_list<std::string> values, std::shared_ptr<ReplySink> to)
      : script(which),
        key_count(key_names.size()),
        argument_count(values.size()),
        sink(std::move(to)) {
    std::copy(key_names.begin(), key_names.end(), keys.begin());
    std::copy(values.begin(), values.end(), arguments.begin());
  }
};

RedisNode::RedisNode(EventLoop& loop, NodeIndex index, Endpoint endpoint, TlsContext tls,
                     const NodeOptions& options, Report report)
    : loop_(loop),
      index_(index),
      endpoint_(std::move(endpoint)),
      tls_(std::move(tls)),
      options_(options),
      retention_(Millis(options.fence_retention)),
      report_(std::move(report)),
      subscriber_(loop, index, endpoint_, tls_),
      backoff_(kFirstBackoff),
      alive_(std::make_shared<bool>(true)) {
  Connect();
}

RedisNode::~RedisNode() {
  *alive_ = false;
  if (connection_) connection_->Close();
}

void RedisNode::Connect() {
  connection_ =
      std::make_shared<Connection>(loop_, [this](const std::string& why) { Reconnect(why); });
  connect_timer_ = loop_.After(kConnectTimeout, [this] {
    connection_->Close();
    Reconnect("no answer while connecting");
  });
  connection_->Open(endpoint_, tls_, [this] { LogIn(); });
}

void RedisNode::LogIn() {
  const auto ignore = [](const redisReply&) {};
  if (const auto words = AuthCommand(endpoint_); !words.empty()) Check(words, ignore);
  if (endpoint_.database != 0) {
    Check(std::array<std::string_view, 2>{"SELECT", std::to_string(endpoint_.database)}, ignore);
  }
  AskForFacts();
  LoadScripts();
}

void RedisNode::AskForFacts() {
  const auto needed = observer_ == nullptr ? OnError::kGoOn : OnError::kGiveUp;
  Check(
      std::array<std::string_view, 1>{"INFO"},
      [this](const redisReply& reply) {
        ServerInfo info = ParseInfo(TextOf(reply));
        if (info.replica || (observer_ != nullptr && info.run_id.empty())) {
          connection_->Close();
          Reconnect(info.replica ? "it is a replica: those have no vote"
                                 : "INFO tells no run_id: the node guard needs it");
          return;
        }
        facts_ = {.run_id = std::move(info.run_id),
                  .mark = {},
                  .durable = info.append_only,
                  .uptime = info.uptime,
                  .clock = {},
                  .asked = {}};
        amiss_ = info.eviction.empty() ? ""
                                       : "it may drop locks: maxmemory-policy is " + info.eviction +
                                             ", and should be noeviction";
      },
      needed);
  if (observer_ == nullptr) return;
  // Refused to many users, and missing on some services: then the node is not taken as durable.
  Check(
      std::array<std::string_view, 3>{"CONFIG", "GET", "*append*"},
      [this](const redisReply& reply) { facts_.durable = facts_.durable && AppendsAlways(reply); },
      OnError::kGoOn);
  Check(std::array<std::string_view, 2>{"GET", kMarkKey},
        [this](const redisReply& reply) { facts_.mark = TextOf(reply); });
  Check(std::array<std::string_view, 1>{"TIME"}, [this, asked = loop_.Now()](const auto& reply) {
    facts_.clock = ParseTime(reply);
    facts_.asked = asked;
  });
}

void RedisNode::LoadScripts() {
  hashes_missing_ = kScripts;
  for (std::size_t i = 0; i < kScripts; ++i) {
    Check(std::array<std::string_view, 3>{"SCRIPT", "LOAD", Source(static_cast<Script>(i))},
          [this, i](const redisReply& reply) {
            hashes_[i] = TextOf(reply);
            if (--hashes_missing_ == 0) OnReady();
          });
  }
}

// Sends a command of the log-in. An error ends the connection, or is handed on.
void RedisNode::Check(std::span<const std::string_view> command,
                      std::function<void(const redisReply&)> ok, OnError on_error) {
  connection_->Send(command, [this, alive = alive_, connection = connection_.get(),
                              name = std::string(command[0]), ok = std::move(ok),
                              on_error](const redisReply* reply) {
    if (!*alive || reply == nullptr || connection != connection_.get()) return;
    if (reply->type == REDIS_REPLY_ERROR && on_error == OnError::kGiveUp) {
      connection_->Close();
      Reconnect(name + ": " + std::string(TextOf(*reply)));
      return;
    }
    ok(*reply);
  });
}

void RedisNode::OnReady() {
  ready_ = true;
  reported_down_ = false;
  backoff_ = kFirstBackoff;
  connect_timer_.Cancel();
  report_(true, amiss_);
  if (observer_ != nullptr) observer_->OnConnected(index_, facts_);
}

void RedisNode::Reconnect(const std::string& why) {
  down_because_ = why;
  ready_ = false;
  silence_timer_.Cancel();
  silence_timer_armed_ = false;
  if (!reported_down_) report_(false, why);
  reported_down_ = true;
  if (observer_ != nullptr) observer_->OnDisconnected(index_);
  connect_timer_ = loop_.After(backoff_, [this] { Connect(); });
  backoff_ = std::min(backoff_ * 2, kLongestBackoff);
}

void RedisNode::Acquire(const AcquireStep& step, std::shared_ptr<ReplySink> sink) {
  Dispatch(std::make_shared<Call>(
      Script::kAcquire,
      std::initializer_list<std::string>{step.key.value(), Meta(step.key), std::string(kMarkKey)},
      std::initializer_list<std::string>{
          step.token.value(), Millis(step.ttl), std::to_string(step.fence.value),
          step.owner.value(), retention_, step.adopt ? "1" : "0",
          std::to_string(step.attempt.value), std::string(step.mark)},
      std::move(sink)));
}

void RedisNode::HandOver(const HandOverStep& step, std::shared_ptr<ReplySink> sink) {
  Dispatch(std::make_shared<Call>(
      Script::kHandOver,
      std::initializer_list<std::string>{step.key.value(), Meta(step.key), std::string(kMarkKey)},
      std::initializer_list<std::string>{step.from.value(), step.to.value(), Millis(step.ttl),
                                         std::to_string(step.fence.value), step.owner.value(),
                                         retention_, std::to_string(step.attempt.value),
                                         std::string(step.mark)},
      std::move(sink)));
}

void RedisNode::Extend(const ExtendStep& step, std::shared_ptr<ReplySink> sink) {
  Dispatch(std::make_shared<Call>(
      Script::kExtend, std::initializer_list<std::string>{step.key.value(), Meta(step.key)},
      std::initializer_list<std::string>{step.token.value(), Millis(step.ttl),
                                         std::to_string(step.raise_to.value), retention_},
      std::move(sink)));
}

void RedisNode::Heal(const HealStep& step, std::shared_ptr<ReplySink> sink) {
  Dispatch(std::make_shared<Call>(
      Script::kHeal, std::initializer_list<std::string>{step.key.value(), Meta(step.key)},
      std::initializer_list<std::string>{step.token.value(), Millis(step.ttl),
                                         std::to_string(step.fence.value), retention_},
      std::move(sink)));
}

void RedisNode::Release(const ReleaseStep& step, std::shared_ptr<ReplySink> sink) {
  Dispatch(std::make_shared<Call>(
      Script::kRelease, std::initializer_list<std::string>{step.key.value(), Meta(step.key)},
      std::initializer_list<std::string>{
          step.token.value(), step.only_attempt ? std::to_string(step.only_attempt->value) : "",
          std::to_string(step.seal.value), retention_,
          step.announce ? AnnouncementChannel(step.key) : ""},
      std::move(sink)));
}

void RedisNode::Inspect(const Key& key, std::shared_ptr<ReplySink> sink) {
  Dispatch(std::make_shared<Call>(Script::kInspect,
                                  std::initializer_list<std::string>{key.value(), Meta(key)},
                                  std::initializer_list<std::string>{}, std::move(sink)));
}

void RedisNode::Mark(const MarkStep& step, std::shared_ptr<ReplySink> sink) {
  Dispatch(std::make_shared<Call>(
      Script::kMark, std::initializer_list<std::string>{std::string(kMarkKey)},
      std::initializer_list<std::string>{step.from, step.to}, std::move(sink)));
}

void RedisNode::Probe(const Key& key, std::shared_ptr<ReplySink> sink) {
  Ask(std::array<std::string_view, 2>{"EXISTS", key.value()}, sink,
      [index = index_, sink](const redisReply& reply) {
        const bool free = reply.type == REDIS_REPLY_INTEGER && reply.integer == 0;
        sink->OnReply(index, {.outcome = free ? Outcome::kNotHeld : Outcome::kHeld});
      });
}

void RedisNode::Look(std::shared_ptr<ReplySink> sink) {
  const auto mark = std::make_shared<std::string>();
  if (const auto refusal = Refusal(false)) {
    Refuse(std::move(sink), *refusal);
    return;
  }
  connection_->Send(std::array<std::string_view, 2>{"GET", kMarkKey},
                    [mark](const redisReply* reply) {
                      if (reply != nullptr) *mark = TextOf(*reply);
                    });
  Ask(std::array<std::string_view, 1>{"TIME"}, sink,
      [index = index_, sink, mark](const redisReply& reply) {
        NodeReply looked{.mark = *mark, .clock = ParseTime(reply)};
        if (looked.clock) {
          looked.outcome = Outcome::kGranted;
        } else {
          looked.message = "unexpected reply";
        }
        sink->OnReply(index, std::move(looked));
      });
}

// A node that does not answer costs its time-out once; then it is refused until it answers.
// Releases still go out: they have to stand behind what they take back.
std::optional<std::string> RedisNode::Refusal(bool even_if_silent) const {
  if (!ready_) return "not connected: " + down_because_;
  const auto since = connection_->waiting_since();
  const Duration silent = since ? loop_.Now() - *since : Duration{};
  if (!even_if_silent && silent > options_.node_timeout) {
    return "no answer for " + Millis(silent) + " ms";
  }
  if (in_flight_ >= kMaxInFlight) return "too many commands wait for an answer";
  return std::nullopt;
}

void RedisNode::Dispatch(std::shared_ptr<Call> call) {
  if (const auto refusal = Refusal(call->script == Script::kRelease)) {
    Refuse(std::move(call->sink), *refusal);
    return;
  }
  Send(std::move(call));
}

void RedisNode::Ask(std::span<const std::string_view> command,
                    const std::shared_ptr<ReplySink>& sink, Answer answer) {
  if (const auto refusal = Refusal(false)) {
    Refuse(sink, *refusal);
    return;
  }
  ++in_flight_;
  connection_->Send(
      command, [this, alive = alive_, sink, answer = std::move(answer)](const redisReply* reply) {
        if (!*alive) return;
        --in_flight_;
        if (reply != nullptr && reply->type != REDIS_REPLY_ERROR) {
          answer(*reply);
          return;
        }
        NodeReply failed{.message = reply == nullptr ? "connection lost: " + down_because_
                                                     : std::string(TextOf(*reply))};
        sink->OnReply(index_, std::move(failed));
      });
  WatchSilence();
}

void RedisNode::Send(std::shared_ptr<Call> call) {
  std::array<std::string_view, 14> command;
  std::size_t size = 0;
  const char key_count = static_cast<char>('0' + call->key_count);
  command[size++] = "EVALSHA";
  command[size++] = hashes_[static_cast<std::size_t>(call->script)];
  command[size++] = {&key_count, 1};
  for (std::size_t i = 0; i < call->key_count; ++i) command[size++] = call->keys[i];
  for (std::size_t i = 0; i < call->argument_count; ++i) command[size++] = call->arguments[i];
  ++in_flight_;
  const std::span<const std::string_view> words(command.data(), size);
  connection_->Send(words, [this, alive = alive_, call](const redisReply* reply) {
    if (*alive) OnReply(call, reply);
  });
  WatchSilence();
}

void RedisNode::OnReply(const std::shared_ptr<Call>& call, const redisReply* reply) {
  --in_flight_;
  if (reply == nullptr) {
    call->sink->OnReply(
        index_, {.outcome = Outcome::kError, .message = "connection lost: " + down_because_});
    return;
  }
  if (reply->type == REDIS_REPLY_ERROR && ready_) {
    const std::string_view error = TextOf(*reply);
    // SCRIPT FLUSH, or a server that was replaced behind a proxy: load it and ask again, once.
    if (error.starts_with("NOSCRIPT") && !call->reloaded) {
      call->reloaded = true;
      Check(std::array<std::string_view, 3>{"SCRIPT", "LOAD", Source(call->script)},
            [](const redisReply&) {});
      Send(call);
      return;
    }
    if (error.starts_with("READONLY")) {
      // Made a replica under a living connection: what it says of itself has changed.
      connection_->Close();
      Reconnect(std::string(error));
    }
  }
  call->sink->OnReply(index_, ParseReply(call->script, *reply));
}

void RedisNode::Refuse(std::shared_ptr<ReplySink> sink, std::string why) {
  loop_.Post([index = index_, sink = std::move(sink), why = std::move(why)] {
    sink->OnReply(index, {.outcome = Outcome::kError, .message = why});
  });
}

void RedisNode::WatchSilence() {
  const auto since = connection_->waiting_since();
  if (silence_timer_armed_ || !since) return;
  silence_timer_armed_ = true;
  silence_timer_ = loop_.At(*since + kSilenceLimit, [this] { CheckSilence(std::nullopt); });
}

void RedisNode::CheckSilence(std::optional<MonotonicTime> suspected) {
  silence_timer_armed_ = false;
  const auto since = connection_->waiting_since();
  if (!since) return;
  const Duration silent = loop_.Now() - *since;
  if (silent < kSilenceLimit) {
    WatchSilence();
    return;
  }
  if (suspected != since) {
    // It may be this daemon that was held up, with the answers in the socket: they are read first.
    silence_timer_armed_ = true;
    silence_timer_ = loop_.After(kOwnDelay, [this, since] { CheckSilence(since); });
    return;
  }
  connection_->Close();
  Reconnect("no answer for " + Millis(silent) + " ms");
}

}  // namespace redlock::redis
