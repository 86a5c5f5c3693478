#include "server/redis/redis_node.h"

#include <algorithm>
#include <charconv>
#include <utility>

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

std::string Millis(Duration duration) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

std::string_view TextOf(const redisReply& reply) { return {reply.str, reply.len}; }

FencingToken FenceOf(const redisReply& reply) {
  FencingToken fence;
  if (reply.type != REDIS_REPLY_STRING) return fence;
  const std::string_view text = TextOf(reply);
  std::from_chars(text.data(), text.data() + text.size(), fence.value);
  return fence;
}

Duration RemainingOf(const redisReply& reply) {
  // PTTL is -1 for a key without expiry, which only a stranger can have written: no advice.
  if (reply.type != REDIS_REPLY_INTEGER || reply.integer <= 0) return {};
  return std::chrono::milliseconds(reply.integer);
}

NodeReply Parse(const redisReply& reply) {
  NodeReply parsed;
  if (reply.type == REDIS_REPLY_ERROR) {
    parsed.message = TextOf(reply);
    return parsed;
  }
  if (reply.type != REDIS_REPLY_ARRAY || reply.elements < 2 ||
      reply.element[0]->type != REDIS_REPLY_INTEGER) {
    parsed.message = "unexpected reply";
    return parsed;
  }
  switch (static_cast<Status>(reply.element[0]->integer)) {
    case Status::kGranted:
      parsed.outcome = Outcome::kGranted;
      parsed.fence = FenceOf(*reply.element[1]);
      if (reply.elements == 3 && reply.element[2]->type == REDIS_REPLY_INTEGER) {
        parsed.handed_over = reply.element[2]->integer != 0;             // of a hand-over
        parsed.listeners = static_cast<int>(reply.element[2]->integer);  // of a release
      }
      if (reply.elements == 5) {  // Inspect
        parsed.remaining = RemainingOf(*reply.element[2]);
        parsed.holder = OwnerToken(std::string(TextOf(*reply.element[3])));
        parsed.owner = OwnerLabel(std::string(TextOf(*reply.element[4])));
      }
      return parsed;
    case Status::kHeld:
      parsed.outcome = Outcome::kHeld;
      parsed.remaining = RemainingOf(*reply.element[1]);
      return parsed;
    case Status::kNotHeld:
      parsed.outcome = Outcome::kNotHeld;
      parsed.fence = FenceOf(*reply.element[1]);
      return parsed;
    case Status::kStaleFence:
      parsed.outcome = Outcome::kStaleFence;
      parsed.fence = FenceOf(*reply.element[1]);
      return parsed;
  }
  parsed.message = "unexpected reply";
  return parsed;
}

}  // namespace

struct RedisNode::Call {
  Script script;
  std::string key;
  std::string meta;
  std::array<std::string, 7> arguments;
  std::size_t argument_count;
  std::shared_ptr<ReplySink> sink;
  bool reloaded = false;

  Call(Script which, const Key& name, std::initializer_list<std::string> values,
       std::shared_ptr<ReplySink> to)
      : script(which),
        key(name.value()),
        meta("redlockd:meta:{" + name.value() + "}"),
        argument_count(values.size()),
        sink(std::move(to)) {
    std::copy(values.begin(), values.end(), arguments.begin());
  }
};

RedisNode::RedisNode(EventLoop& loop, NodeIndex index, Endpoint endpoint,
                     std::shared_ptr<asio::ssl::context> tls, const NodeOptions& options,
                     Report report)
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
  connection_ = std::make_shared<Connection>(loop_, MakeTransport(loop_.io(), endpoint_, tls_),
                                             [this](const std::string& why) { Reconnect(why); });
  connect_timer_ = loop_.After(kConnectTimeout, [this] {
    connection_->Close();
    Reconnect("no answer while connecting");
  });
  connection_->Open([this] { LogIn(); });
}

void RedisNode::LogIn() {
  const auto ignore = [](const redisReply&) {};
  if (const auto words = AuthCommand(endpoint_); !words.empty()) Check(words, ignore);
  if (endpoint_.database != 0) {
    Check(std::array<std::string_view, 2>{"SELECT", std::to_string(endpoint_.database)}, ignore);
  }
  hashes_missing_ = kScripts;
  for (std::size_t i = 0; i < kScripts; ++i) {
    Check(std::array<std::string_view, 3>{"SCRIPT", "LOAD", Source(static_cast<Script>(i))},
          [this, i](const redisReply& reply) {
            hashes_[i] = TextOf(reply);
            if (--hashes_missing_ == 0) OnReady();
          });
  }
}

// Sends a command of the log-in; an error ends the connection.
void RedisNode::Check(std::span<const std::string_view> command,
                      std::function<void(const redisReply&)> ok) {
  connection_->Send(command, [this, alive = alive_, connection = connection_.get(),
                              ok = std::move(ok)](const redisReply* reply) {
    if (!*alive || reply == nullptr || connection != connection_.get()) return;
    if (reply->type == REDIS_REPLY_ERROR) {
      connection_->Close();
      Reconnect(std::string(TextOf(*reply)));
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
  report_(true, {});
}

void RedisNode::Reconnect(const std::string& why) {
  down_because_ = why;
  ready_ = false;
  silence_timer_.Cancel();
  silence_timer_armed_ = false;
  if (!reported_down_) report_(false, why);
  reported_down_ = true;
  connect_timer_ = loop_.After(backoff_, [this] { Connect(); });
  backoff_ = std::min(backoff_ * 2, kLongestBackoff);
}

void RedisNode::Acquire(const AcquireStep& step, std::shared_ptr<ReplySink> sink) {
  Dispatch(std::make_shared<Call>(
      Script::kAcquire, step.key,
      std::initializer_list<std::string>{step.token.value(), Millis(step.ttl),
                                         std::to_string(step.fence.value), step.owner.value(),
                                         retention_, step.adopt ? "1" : "0",
                                         std::to_string(step.attempt.value)},
      std::move(sink)));
}

void RedisNode::HandOver(const HandOverStep& step, std::shared_ptr<ReplySink> sink) {
  Dispatch(std::make_shared<Call>(
      Script::kHandOver, step.key,
      std::initializer_list<std::string>{step.from.value(), step.to.value(), Millis(step.ttl),
                                         std::to_string(step.fence.value), step.owner.value(),
                                         retention_, std::to_string(step.attempt.value)},
      std::move(sink)));
}

void RedisNode::Extend(const ExtendStep& step, std::shared_ptr<ReplySink> sink) {
  Dispatch(std::make_shared<Call>(
      Script::kExtend, step.key,
      std::initializer_list<std::string>{step.token.value(), Millis(step.ttl),
                                         std::to_string(step.raise_to.value), retention_},
      std::move(sink)));
}

void RedisNode::Heal(const HealStep& step, std::shared_ptr<ReplySink> sink) {
  Dispatch(std::make_shared<Call>(
      Script::kHeal, step.key,
      std::initializer_list<std::string>{step.token.value(), Millis(step.ttl),
                                         std::to_string(step.fence.value), retention_},
      std::move(sink)));
}

void RedisNode::Release(const ReleaseStep& step, std::shared_ptr<ReplySink> sink) {
  Dispatch(std::make_shared<Call>(
      Script::kRelease, step.key,
      std::initializer_list<std::string>{
          step.token.value(), step.only_attempt ? std::to_string(step.only_attempt->value) : "",
          std::to_string(step.seal.value), retention_,
          step.announce ? AnnouncementChannel(step.key) : ""},
      std::move(sink)));
}

void RedisNode::Inspect(const Key& key, std::shared_ptr<ReplySink> sink) {
  Dispatch(std::make_shared<Call>(Script::kInspect, key, std::initializer_list<std::string>{},
                                  std::move(sink)));
}

void RedisNode::Dispatch(std::shared_ptr<Call> call) {
  if (!ready_) {
    Refuse(std::move(call->sink), "not connected: " + down_because_);
    return;
  }
  // A node that does not answer costs its time-out once; then it is refused until it answers.
  // Releases still go out: they have to stand behind what they take back.
  const auto since = connection_->waiting_since();
  const Duration silent = since ? loop_.Now() - *since : Duration{};
  if (call->script != Script::kRelease && silent > options_.node_timeout) {
    Refuse(std::move(call->sink), "no answer for " + Millis(silent) + " ms");
    return;
  }
  if (in_flight_ >= kMaxInFlight) {
    Refuse(std::move(call->sink), "too many commands wait for an answer");
    return;
  }
  Send(std::move(call));
}

void RedisNode::Send(std::shared_ptr<Call> call) {
  std::array<std::string_view, 12> command;
  std::size_t size = 0;
  command[size++] = "EVALSHA";
  command[size++] = hashes_[static_cast<std::size_t>(call->script)];
  command[size++] = "2";
  command[size++] = call->key;
  command[size++] = call->meta;
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
  // SCRIPT FLUSH, or a server that was replaced behind a proxy: load it and ask again, once.
  if (reply->type == REDIS_REPLY_ERROR && TextOf(*reply).starts_with("NOSCRIPT") && ready_ &&
      !call->reloaded) {
    call->reloaded = true;
    Check(std::array<std::string_view, 3>{"SCRIPT", "LOAD", Source(call->script)},
          [](const redisReply&) {});
    Send(call);
    return;
  }
  call->sink->OnReply(index_, Parse(*reply));
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
