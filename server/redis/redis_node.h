// Implements Node on a Redis or Valkey server: connects, logs in, loads the script and reconnects.
// While the server cannot be expected to answer, it rejects steps at once.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/core/backoff.h"
#include "server/core/nodes/node.h"
#include "server/loop/event_loop.h"
#include "server/redis/connection.h"
#include "server/redis/endpoint.h"
#include "server/redis/node_tls.h"
#include "server/redis/replies.h"
#include "server/redis/step_batch.h"
#include "server/redis/step_writer.h"
#include "server/redis/subscriber.h"

namespace redlock::redis {

struct NodeOptions {
  // A node that has been silent for longer rejects steps at once.
  Duration node_timeout = std::chrono::milliseconds(50);
  // How long a node keeps a key's meta after its last use.
  Duration fence_retention = std::chrono::minutes(1);
};

// Must be used on the loop's strand, except before the loop runs and at shutdown.
// `report(connected, what)` reports changes of its state for the log. `what` says why the node is
// not connected, or what is wrong although it is connected.
class RedisNode final : public Node {
 public:
  using Report = std::function<void(bool connected, const std::string& what)>;

  // Starts to connect. The loop must outlive the node. `tls` is needed for Kind::kTls only.
  // All nodes of the loop share one writer.
  RedisNode(EventLoop& loop, NodeIndex index, Endpoint endpoint, std::shared_ptr<const NodeTls> tls,
            std::shared_ptr<StepWriter> writer, const NodeOptions& options, Report report);
  ~RedisNode() override;
  RedisNode(const RedisNode&) = delete;
  RedisNode& operator=(const RedisNode&) = delete;

  void Acquire(const AcquireStep& step, std::shared_ptr<ReplySink> sink) override;
  void HandOver(const HandOverStep& step, std::shared_ptr<ReplySink> sink) override;
  void Extend(const ExtendStep& step, std::shared_ptr<ReplySink> sink) override;
  void Repair(const RepairStep& step, std::shared_ptr<ReplySink> sink) override;
  void Release(const ReleaseStep& step, std::shared_ptr<ReplySink> sink) override;
  void Intend(const IntendStep& step, std::shared_ptr<ReplySink> sink) override;
  void Proclaim(const ProclaimStep& step, std::shared_ptr<ReplySink> sink) override;
  void Inspect(const InspectStep& step, std::shared_ptr<ReplySink> sink) override;
  void Probe(const Key& key, std::shared_ptr<ReplySink> sink) override;
  void TryGrant(std::shared_ptr<ReplySink> sink) override;
  void Mark(const MarkStep& step, std::shared_ptr<ReplySink> sink) override;
  void ReadMark(std::shared_ptr<ReplySink> sink) override;
  void AskSet(const SetStep& step, std::shared_ptr<SetSink> sink) override;
  void ReadSettings(std::shared_ptr<ReplySink> sink) override;
  void ObserveWith(NodeObserver* observer) override { observer_ = observer; }
  void ListenTo(AnnouncementSink* sink) override { subscriber_.ListenTo(sink); }
  void Subscribe(Topic topic, const Key& key) override { subscriber_.Subscribe(topic, key); }
  void Unsubscribe(Topic topic, const Key& key) override { subscriber_.Unsubscribe(topic, key); }

  [[nodiscard]] bool ready() const { return ready_; }

 private:
  struct Batch;  // kept until its reply arrives, because it is sent again after NOSCRIPT

  void Connect();
  void LogIn();
  void AskForFacts();
  void LoadScript();
  enum class OnError { kGiveUp, kGoOn };
  void Check(std::span<const std::string_view> command, std::function<void(const redisReply&)> ok,
             OnError on_error = OnError::kGiveUp);
  void OnReady();
  void OnSettled();
  void Reconnect(const std::string& why);
  // Adds a step to the batch of this turn, or rejects it.
  template <typename Step>
  void Queue(const Step& step, AskedStep asked, const Expected& expected,
             std::shared_ptr<ReplySink> sink);
  void SendBatch();
  void Send(std::shared_ptr<Batch> batch);
  void OnReply(const std::shared_ptr<Batch>& batch, const redisReply* reply);
  // Sends a plain command. Rejects it under the same conditions as a step.
  using Answer = std::function<void(const redisReply&)>;
  void Ask(std::span<const std::string_view> command, const std::shared_ptr<ReplySink>& sink,
           Answer answer);
  // Why no command may be sent now; nothing if commands may be sent.
  [[nodiscard]] std::optional<std::string> Refusal(bool even_if_silent) const;
  void Refuse(std::shared_ptr<ReplySink> sink, std::string why);
  void WatchSilence();
  void CheckSilence(std::optional<MonotonicTime> suspected);

  EventLoop& loop_;
  const NodeIndex index_;
  const Endpoint endpoint_;
  const std::shared_ptr<const NodeTls> tls_;
  const std::shared_ptr<StepWriter> writer_;
  const NodeOptions options_;
  const Duration retention_;
  const Report report_;

  Subscriber subscriber_;
  NodeObserver* observer_ = nullptr;
  NodeFacts facts_;  // of the current connection
  std::string amiss_;
  std::shared_ptr<Connection> connection_;
  bool ready_ = false;
  bool settled_ = true;  // the last connection lasted, or there was none yet
  bool reported_down_ = false;
  std::string reported_because_;
  MonotonicTime report_again_{};
  std::string down_because_ = "not connected yet";
  Backoff backoff_;
  std::size_t attempt_ = 0;       // to connect, since the last connection that lasted
  std::string hash_;              // of the script
  std::shared_ptr<Batch> batch_;  // of this turn; null if there is none
  TimerHandle connect_timer_;     // starts the next attempt, or limits the current one
  TimerHandle settle_timer_;      // calls OnSettled()
  TimerHandle silence_timer_;     // calls CheckSilence()
  bool silence_timer_armed_ = false;
  std::size_t in_flight_ = 0;
  const std::shared_ptr<bool> alive_;  // false once the node is destroyed: replies may arrive later
};

}  // namespace redlock::redis
