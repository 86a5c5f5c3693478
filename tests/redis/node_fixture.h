// A node over a real redis-server process, with its loop in the test's own thread.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/redis/redis_node.h"
#include "tests/support/process.h"

namespace redlock::redis {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::RedisServer;
using testing::TemporaryDirectory;

class Recorder final : public ReplySink {
 public:
  void OnReply(NodeIndex /*node*/, NodeReply&& reply) override {
    replies.push_back(std::move(reply));
  }
  std::vector<NodeReply> replies;
};

// Runs the loop in the test's own thread, one slice at a time.
class NodeTest : public ::testing::Test {
 protected:
  void Open(Endpoint endpoint, const TlsOptions* tls = nullptr) {
    node.emplace(
        loop, 0, std::move(endpoint), tls == nullptr ? nullptr : std::make_shared<NodeTls>(*tls),
        std::make_shared<StepWriter>(), options, [this](bool connected, const std::string& why) {
          (connected ? problem : down_because) = why;
          ++reports;
        });
  }
  void OpenReady(Endpoint endpoint, const TlsOptions* tls = nullptr) {
    Open(std::move(endpoint), tls);
    ASSERT_TRUE(RunUntil([this] { return node->ready(); })) << down_because;
  }
  static Endpoint Tcp(const RedisServer& server) {
    return {.kind = Endpoint::Kind::kTcp, .host = "127.0.0.1", .port = server.port()};
  }

  // Before version 7, a server has no `redis.acl_check_cmd` and no setting `cluster-port`. Valkey
  // reports the version of Redis with which it is compatible.
  static bool IsRedis6(const RedisServer& server) {
    return server.Cli("INFO server").find("redis_version:6.") != std::string::npos;
  }

  bool RunUntil(const std::function<bool()>& condition, Duration patience = seconds(5)) {
    const MonotonicTime give_up = loop.Now() + patience;
    while (!condition()) {
      if (loop.Now() > give_up) return false;
      { const EventLoop::StrandLock turn(loop); }
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return true;
  }
  void Run(Duration time) {
    (void)RunUntil([] { return false; }, time);
  }

  // Calls `work` in a turn of the loop, as the daemon's threads do.
  template <typename Work>
  void DoOnStrand(Work work) {
    const EventLoop::StrandLock turn(loop);
    work();
  }
  template <typename Send>
  NodeReply Ask(Send send) {
    const auto sink = std::make_shared<Recorder>();
    DoOnStrand([&] { send(sink); });
    EXPECT_TRUE(RunUntil([&] { return !sink->replies.empty(); }));
    return sink->replies.empty() ? NodeReply{} : sink->replies.front();
  }
  static constexpr Duration kLongest = std::chrono::minutes(10);

  NodeReply Acquire(const std::string& key, const std::string& token, std::uint64_t fence,
                    Duration ttl = seconds(10), std::uint64_t attempt = 1, bool adopt = false) {
    return Ask([&](auto sink) {
      const Owner owner{.label = OwnerLabel("label")};
      node->Acquire({Key(key), OwnerToken(token), ttl, kLongest, {fence}, {attempt}, owner, adopt},
                    sink);
    });
  }
  NodeReply Extend(const std::string& key, const std::string& token, Duration ttl,
                   std::uint64_t raise_to = 0) {
    return Ask([&](auto sink) {
      node->Extend({Key(key), OwnerToken(token), ttl, kLongest, {raise_to}}, sink);
    });
  }
  NodeReply Release(const std::string& key, const std::string& token,
                    std::optional<AttemptId> only = {}, std::uint64_t seal = 0) {
    return Ask([&](auto sink) {
      node->Release({Key(key), OwnerToken(token), only, {seal}, false}, sink);
    });
  }

  EventLoop loop;
  NodeOptions options;  // of the node that is opened next
  std::optional<RedisNode> node;
  std::string down_because;
  int reports = 0;
  std::string problem;  // the reported problem of a connected node
};

}  // namespace redlock::redis
