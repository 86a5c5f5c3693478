#include "server/redis/redis_node.h"

#include <array>
#include <utility>

#include "server/core/check.h"
#include "server/core/format.h"
#include "server/redis/node_error.h"
#include "server/redis/replies.h"
#include "server/redis/server_info.h"
#include "server/redis/set_command.h"

namespace redlock::redis {
namespace {

constexpr Duration kFirstBackoff = std::chrono::milliseconds(10);
constexpr Duration kLongestBackoff = std::chrono::milliseconds(500);
constexpr Duration kConnectTimeout = std::chrono::seconds(2);
// A node whose connection has lasted for this long is connected to again without a pause. A shorter
// one may be of a node that hangs up after each log-in.
constexpr Duration kSettleTime = std::chrono::seconds(5);
// While a node is down, another reason is reported at most this often.
constexpr Duration kReportAgain = std::chrono::seconds(10);
// A connection without any answer for this long is closed and reopened.
constexpr Duration kSilenceLimit = std::chrono::seconds(1);
// How long to read what is already in the socket, in case this daemon was delayed.
constexpr Duration kOwnDelay = std::chrono::milliseconds(100);
// Limits the commands that wait for an answer. A node that does not answer still receives releases.
constexpr std::size_t kMaxInFlight = 20'000;

}  // namespace

struct RedisNode::Batch {
  struct Step {
    AskedStep asked;
    std::shared_ptr<ReplySink> sink;
  };
  StepBatch written;
  std::array<std::vector<Step>, kStepGroups> steps;  // in the order of the answers
  MonotonicTime sent;
  bool reloaded = false;

  // Calls `call(i, step)` with the index of each step's answer.
  template <typename Call>
  void ForEach(Call call) {
    std::size_t i = 0;
    for (auto& group : steps) {
      for (Step& step : group) call(i++, step);
    }
  }
};

RedisNode::RedisNode(EventLoop& loop, NodeIndex index, Endpoint endpoint,
                     std::shared_ptr<const NodeTls> tls, std::shared_ptr<StepWriter> writer,
                     const NodeOptions& options, Report report)
    : loop_(loop),
      index_(index),
      endpoint_(std::move(endpoint)),
      tls_(std::move(tls)),
      writer_(std::move(writer)),
      options_(options),
      retention_(options.fence_retention),
      report_(std::move(report)),
      subscriber_(loop, index, endpoint_, tls_),
      backoff_(kFirstBackoff, kLongestBackoff),
      alive_(std::make_shared<bool>(true)) {
  Connect();
}

RedisNode::~RedisNode() {
  *alive_ = false;
  if (connection_) connection_->Discard();
}

void RedisNode::Connect() {
  connection_ =
      std::make_shared<Connection>(loop_, [this](const std::string& why) { Reconnect(why); });
  connect_timer_ = loop_.After(kConnectTimeout, [this] {
    connection_->Close();
    Reconnect("no answer while connecting");
  });
  connection_->Open(endpoint_, tls_ ? tls_->context() : nullptr, attempt_++, [this] { LogIn(); });
}

void RedisNode::LogIn() {
  const auto ignore = [](const redisReply&) {};
  if (const auto words = AuthCommand(endpoint_); !words.empty()) {
    Check(std::vector<std::string_view>(words.begin(), words.end()), ignore);
  }
  if (endpoint_.database != 0) {
    Check(std::array<std::string_view, 2>{"SELECT", std::to_string(endpoint_.database)}, ignore);
  }
  AskForFacts();
  LoadScript();
}

void RedisNode::AskForFacts() {
  const auto needed = observer_ == nullptr ? OnError::kGoOn : OnError::kGiveUp;
  Check(
      std::array<std::string_view, 1>{"INFO"},
      [this](const redisReply& reply) {
        ServerInfo info = ParseInfo(TextOf(reply));
        if (info.unsuitable.empty() && observer_ != nullptr && info.run_id.empty()) {
          info.unsuitable = "INFO reports no run_id, which the node guard requires";
        }
        if (!info.unsuitable.empty()) {
          connection_->Close();
          Reconnect(info.unsuitable);
          return;
        }
        facts_ = {.version = std::move(info.version),
                  .run_id = std::move(info.run_id),
                  .mark = {},
                  .set = {},
                  .durable = info.append_only,
                  .eviction = info.eviction,
                  .uptime = info.uptime,
                  .clock = {},
                  .asked = {},
                  .answered = {}};
        const std::string& policy = info.eviction.policy;
        amiss_ = policy.empty() ? ""
                                : "it may evict locks: maxmemory-policy is " + policy +
                                      "; set it to noeviction";
      },
      needed);
  if (observer_ == nullptr) return;
  // ACLs often forbid CONFIG, and some services lack it. The node then counts as not durable.
  Check(
      std::array<std::string_view, 3>{"CONFIG", "GET", "*append*"},
      [this](const redisReply& reply) { facts_.durable = facts_.durable && AppendsAlways(reply); },
      OnError::kGoOn);
  const std::vector<std::string> read = SetCommand({.kind = SetStep::Kind::kRead});
  Check(std::vector<std::string_view>(read.begin(), read.end()), [this](const redisReply& reply) {
    SetReply set = ParseSetReply(reply);
    if (!set.answered) {
      connection_->Close();
      Reconnect(set.error);
      return;
    }
    facts_.set = std::move(set.state);
    facts_.mark = facts_.set.mark;
  });
  Check(std::array<std::string_view, 1>{"TIME"}, [this, asked = loop_.Now()](const auto& reply) {
    facts_.clock = ParseTime(reply);
    facts_.asked = asked;
    facts_.answered = loop_.Now();
  });
}

void RedisNode::LoadScript() {
  Check(std::array<std::string_view, 3>{"SCRIPT", "LOAD", StepsSource()},
        [this](const redisReply& reply) {
          hash_ = TextOf(reply);
          if (!ready_) OnReady();
        });
}

// Sends a command of the login sequence. An error ends the connection, or with kGoOn is passed to
// `ok` as the reply.
void RedisNode::Check(std::span<const std::string_view> command,
                      std::function<void(const redisReply&)> ok, OnError on_error) {
  connection_->Send(command, [this, alive = alive_, connection = connection_.get(),
                              name = std::string(command[0]), ok = std::move(ok),
                              on_error](const redisReply* reply) {
    if (!*alive || reply == nullptr || connection != connection_.get()) return;
    if (reply->type == REDIS_REPLY_ERROR && on_error == OnError::kGiveUp) {
      connection_->Close();
      Reconnect(name + ": " + DescribeError(TextOf(*reply)));
      return;
    }
    ok(*reply);
  });
}

void RedisNode::OnReady() {
  ready_ = true;
  connect_timer_.Cancel();
  if (settled_) {
    reported_down_ = false;
    report_(true, amiss_);
  }
  settled_ = false;
  settle_timer_ = loop_.After(kSettleTime, [this] { OnSettled(); });
  if (observer_ != nullptr) observer_->OnConnected(index_, facts_);
}

void RedisNode::OnSettled() {
  settled_ = true;
  backoff_.Reset();
  attempt_ = 0;
  if (!std::exchange(reported_down_, false)) return;
  report_(true, amiss_);
}

void RedisNode::Reconnect(const std::string& why) {
  settle_timer_.Cancel();
  down_because_ = why;
  ready_ = false;
  silence_timer_.Cancel();
  silence_timer_armed_ = false;
  const bool another_reason = why != reported_because_ && loop_.Now() >= report_again_;
  if (!reported_down_ || another_reason) {
    report_(false, why);
    reported_because_ = why;
    report_again_ = loop_.Now() + kReportAgain;
  }
  reported_down_ = true;
  if (observer_ != nullptr) observer_->OnDisconnected(index_, why);
  connect_timer_ = loop_.After(backoff_.Next(), [this] { Connect(); });
}

void RedisNode::Acquire(const AcquireStep& step, std::shared_ptr<ReplySink> sink) {
  Queue(step, {step.adopt ? StepKind::kAcquireOrExtend : StepKind::kAcquire, step.fence},
        step.expected, std::move(sink));
}

void RedisNode::HandOver(const HandOverStep& step, std::shared_ptr<ReplySink> sink) {
  Queue(step, {StepKind::kHandOver, step.fence}, step.expected, std::move(sink));
}

void RedisNode::Extend(const ExtendStep& step, std::shared_ptr<ReplySink> sink) {
  Queue(step, {StepKind::kExtend, {}}, step.expected, std::move(sink));
}

void RedisNode::Repair(const RepairStep& step, std::shared_ptr<ReplySink> sink) {
  Queue(step, {StepKind::kRepair, {}}, step.expected, std::move(sink));
}

void RedisNode::Release(const ReleaseStep& step, std::shared_ptr<ReplySink> sink) {
  Queue(step, {StepKind::kRelease, {}}, {}, std::move(sink));
}

void RedisNode::Intend(const IntendStep& step, std::shared_ptr<ReplySink> sink) {
  Queue(step, {StepKind::kIntend, {}}, {}, std::move(sink));
}

void RedisNode::Proclaim(const ProclaimStep& step, std::shared_ptr<ReplySink> sink) {
  Queue(step, {StepKind::kProclaim, {}}, step.expected, std::move(sink));
}

void RedisNode::Inspect(const InspectStep& step, std::shared_ptr<ReplySink> sink) {
  Queue(step, {StepKind::kInspect, {}}, step.expected, std::move(sink));
}

void RedisNode::Mark(const MarkStep& step, std::shared_ptr<ReplySink> sink) {
  Queue(step, {StepKind::kMark, {}}, {}, std::move(sink));
}

void RedisNode::Probe(const Key& key, std::shared_ptr<ReplySink> sink) {
  std::vector<std::string_view> command = {"EXISTS"};
  key.ForEach([&command](std::string_view name) { command.push_back(name); });
  Ask(command, sink, [index = index_, sink](const redisReply& reply) {
    const bool free = reply.type == REDIS_REPLY_INTEGER && reply.integer == 0;
    sink->OnReply(index, {.outcome = free ? Outcome::kNotHeld : Outcome::kHeld});
  });
}

void RedisNode::TryGrant(std::shared_ptr<ReplySink> sink) {
  Queue(TryGrantStep{}, {StepKind::kTryGrant, {}}, {}, std::move(sink));
}

void RedisNode::ReadMark(std::shared_ptr<ReplySink> sink) {
  REDLOCK_DCHECK(loop_.OnStrand());
  const auto looked = std::make_shared<NodeReply>(NodeReply{.message = "unexpected reply"});
  if (const auto refusal = Refusal(false)) {
    Refuse(std::move(sink), *refusal);
    return;
  }
  SendBatch();
  connection_->Send(std::array<std::string_view, 2>{"GET", kMarkKey},
                    [looked](const redisReply* reply) {
                      if (reply != nullptr) ParseMarkReply(*reply, *looked);
                    });
  Ask(std::array<std::string_view, 1>{"TIME"}, sink,
      [index = index_, sink, looked](const redisReply& reply) {
        looked->clock = ParseTime(reply);
        if (!looked->clock) looked->outcome = Outcome::kError;
        sink->OnReply(index, std::move(*looked));
      });
}

void RedisNode::AskSet(const SetStep& step, std::shared_ptr<SetSink> sink) {
  if (auto refusal = Refusal(false)) {
    loop_.Post([index = index_, sink = std::move(sink), why = std::move(*refusal)] {
      sink->OnSetReply(index, {.state = {}, .error = why});
    });
    return;
  }
  SendBatch();  // keeps the order of steps and commands
  ++in_flight_;
  const std::vector<std::string> words = SetCommand(step);
  connection_->Send(std::vector<std::string_view>(words.begin(), words.end()),
                    [this, alive = alive_, sink = std::move(sink)](const redisReply* reply) {
                      if (!*alive) return;
                      --in_flight_;
                      sink->OnSetReply(
                          index_,
                          reply == nullptr
                              ? SetReply{.state = {}, .error = "connection lost: " + down_because_}
                              : ParseSetReply(*reply));
                    });
  WatchSilence();
}

void RedisNode::ReadSettings(std::shared_ptr<ReplySink> sink) {
  if (const auto refusal = Refusal(false)) {
    Refuse(std::move(sink), *refusal);
    return;
  }
  SendBatch();
  const auto settings = std::make_shared<NodeSettings>();
  if (facts_.durable) {
    connection_->Send(std::array<std::string_view, 3>{"CONFIG", "GET", "*append*"},
                      [settings](const redisReply* reply) {
                        settings->durable = reply != nullptr && AppendsAlways(*reply);
                      });
  }
  Ask(std::array<std::string_view, 1>{"INFO"}, sink,
      [index = index_, sink, settings](const redisReply& reply) {
        ServerInfo info = ParseInfo(TextOf(reply));
        NodeReply looked;
        if (info.run_id.empty()) {
          looked.message = "unexpected reply";
        } else {
          settings->durable = settings->durable && info.append_only;
          settings->eviction = std::move(info.eviction);
          looked.outcome = Outcome::kGranted;
          looked.settings = *settings;
        }
        sink->OnReply(index, std::move(looked));
      });
}

// After a node has been silent for one node_timeout, steps are rejected until it answers. Releases
// are still sent, because they must reach the node after the steps that they undo.
std::optional<std::string> RedisNode::Refusal(bool even_if_silent) const {
  if (!ready_) return "not connected: " + down_because_;
  const auto since = connection_->waiting_since();
  const Duration silent = since ? loop_.Now() - *since : Duration{};
  if (!even_if_silent && silent > options_.node_timeout) {
    return "no answer for " + InWords(silent);
  }
  if (in_flight_ >= kMaxInFlight) return "too many commands wait for an answer";
  return std::nullopt;
}

template <typename Step>
void RedisNode::Queue(const Step& step, AskedStep asked, const Expected& expected,
                      std::shared_ptr<ReplySink> sink) {
  REDLOCK_DCHECK(loop_.OnStrand());
  if (const auto refusal = Refusal(asked.kind == StepKind::kRelease)) {
    Refuse(std::move(sink), *refusal);
    return;
  }
  const StepText& text = writer_->Write(step);
  if (batch_ && (batch_->written.full() || !batch_->written.Takes(expected))) {
    SendBatch();
    connection_->FlushNow();  // the node starts to work while more steps are added
  } else if (batch_ && !batch_->written.Takes(text)) {
    SendBatch();
  }
  if (!batch_) {
    batch_ = std::make_shared<Batch>();
    loop_.Post([this, alive = alive_, batch = batch_] {
      if (*alive && batch == batch_) SendBatch();
    });
  }
  batch_->written.Add(text, expected);
  batch_->steps.at(static_cast<std::size_t>(text.group)).push_back({asked, std::move(sink)});
  ++in_flight_;
}

void RedisNode::SendBatch() {
  if (!batch_) return;
  const auto batch = std::exchange(batch_, nullptr);
  if (ready_) {
    Send(batch);
    return;
  }
  // The connection broke in this turn.
  in_flight_ -= batch->written.size();
  batch->ForEach([&](std::size_t, Batch::Step& step) {
    Refuse(std::move(step.sink), "connection lost: " + down_because_);
  });
}

void RedisNode::Ask(std::span<const std::string_view> command,
                    const std::shared_ptr<ReplySink>& sink, Answer answer) {
  REDLOCK_DCHECK(loop_.OnStrand());
  if (const auto refusal = Refusal(false)) {
    Refuse(sink, *refusal);
    return;
  }
  SendBatch();  // keeps the order of steps and commands
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
                                                     : DescribeError(TextOf(*reply))};
        sink->OnReply(index_, std::move(failed));
      });
  WatchSilence();
}

void RedisNode::Send(std::shared_ptr<Batch> batch) {
  const std::string command = batch->written.Command(hash_, retention_);
  batch->sent = loop_.Now();
  connection_->SendWritten(command,
                           [this, alive = alive_, batch = std::move(batch)](const auto* reply) {
                             if (*alive) OnReply(batch, reply);
                           });
  WatchSilence();
}

void RedisNode::OnReply(const std::shared_ptr<Batch>& batch, const redisReply* reply) {
  REDLOCK_CHECK(in_flight_ >= batch->written.size());
  in_flight_ -= batch->written.size();
  if (reply == nullptr) {
    batch->ForEach([&](std::size_t, const Batch::Step& step) {
      step.sink->OnReply(index_, {.message = "connection lost: " + down_because_});
    });
    return;
  }
  // After SCRIPT FLUSH, or if a proxy now leads to another server, load the script and retry once.
  if (reply->type == REDIS_REPLY_ERROR && TextOf(*reply).starts_with("NOSCRIPT") && ready_ &&
      !batch->reloaded) {
    batch->reloaded = true;
    in_flight_ += batch->written.size();
    LoadScript();
    Send(batch);
    return;
  }
  const BatchReply answers(*reply, batch->written.size(), loop_.WallNow());
  // The acquisitions of a call share one reading of the clock. To judge it once is enough.
  const std::size_t acquisitions =
      batch->steps.at(static_cast<std::size_t>(StepGroup::kAcquisition)).size();
  bool has_clock = false;
  batch->ForEach([&](std::size_t i, const Batch::Step& step) {
    NodeReply answer = answers.At(i, step.asked);
    if (answer.clock) {
      answer.sent = batch->sent;
      if (i < acquisitions && std::exchange(has_clock, true)) answer.clock.reset();
    }
    // Redis 6.2 puts the line of the script before the error.
    if (answer.message.find("READONLY ") != std::string::npos && ready_) {
      // The server became a replica while connected. Reconnect to read its INFO again.
      connection_->Close();
      Reconnect(answer.message);
    }
    step.sink->OnReply(index_, std::move(answer));
  });
}

void RedisNode::Refuse(std::shared_ptr<ReplySink> sink, std::string why) {
  loop_.Post([index = index_, sink = std::move(sink), why = std::move(why)] {
    sink->OnReply(index, {.outcome = Outcome::kError, .message = why, .never_sent = true});
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
    // The daemon itself may have been delayed, with the answers still in the socket. Read them
    // first.
    silence_timer_armed_ = true;
    silence_timer_ = loop_.After(kOwnDelay, [this, since] { CheckSilence(since); });
    return;
  }
  connection_->Close();
  Reconnect("no answer for " + InWords(silent));
}

}  // namespace redlock::redis
