// A small cluster on a quiet network, for tests of one claim at a time.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/cluster.h"

namespace redlock::sim {

inline constexpr RetryPolicy kTry{.max_retries = 0};

class Scenario : public testing::Test {
 protected:
  // Daemons whose wall clocks agree, three nodes, 0.1 ms in each direction.
  void SetUpCluster(ClusterOptions options = {}, Duration most_delay = microseconds(100)) {
    options.faults.least_delay = microseconds(100);
    options.faults.most_delay = most_delay;
    cluster.emplace(world, options);
  }

  // Runs long enough that everything that was started must have ended.
  void TearDown() override {
    if (!cluster) return;
    for (std::size_t node = 0; node < cluster->nodes(); ++node) {
      cluster->Up(node);
      cluster->Resume(node);
    }
    Pass(seconds(30));
    EXPECT_EQ(cluster->Leftovers(), std::vector<std::string>());
  }

  void Pass(Duration time) { world.RunUntil(world.now() + time); }

  static AcquireCommand Wants(const std::string& key, Duration ttl, RetryPolicy retry = kTry) {
    AcquireCommand command;
    command.key = Key(key);
    command.ttl = ttl;
    command.retry = retry;
    return command;
  }

  // An acquisition under way.
  struct Waiter {
    std::optional<AcquireResult> result;
    MonotonicTime at;
    std::shared_ptr<Cancellable> operation;
    std::vector<std::size_t> positions;
  };
  std::shared_ptr<Waiter> Start(AcquireCommand command, std::size_t daemon = 0) {
    auto waiter = std::make_shared<Waiter>();
    command.queued = [waiter](std::size_t position) { waiter->positions.push_back(position); };
    waiter->operation =
        cluster->shard(daemon).Acquire(std::move(command), [this, waiter](AcquireResult result) {
          waiter->result = std::move(result);
          waiter->at = world.now();
        });
    return waiter;
  }
  static bool Has(const std::shared_ptr<Waiter>& waiter) {
    return waiter->result && waiter->result->lease;
  }

  // Starts the acquisition and waits for its result.
  AcquireResult Acquire(AcquireCommand command, std::size_t daemon = 0) {
    std::optional<AcquireResult> answer;
    cluster->shard(daemon).Acquire(std::move(command),
                                   [&](AcquireResult result) { answer = std::move(result); });
    return Await(answer);
  }
  Lease MustAcquire(AcquireCommand command, std::size_t daemon = 0) {
    AcquireResult result = Acquire(std::move(command), daemon);
    EXPECT_TRUE(result.lease) << ToString(result.error.reason);
    return result.lease.value_or(Lease{});
  }
  ExtendResult Extend(const std::string& key, const std::string& token, Duration ttl,
                      std::size_t daemon = 0) {
    std::optional<ExtendResult> answer;
    cluster->shard(daemon).Extend({.key = Key(key),
                                   .token = OwnerToken(token),
                                   .ttl = ttl,
                                   .retry = kTry,
                                   .deadline = std::nullopt,
                                   .raise_to = {}},
                                  [&](ExtendResult result) { answer = std::move(result); });
    return Await(answer);
  }
  ReleaseResult Release(const std::string& key, const std::string& token, std::size_t daemon = 0) {
    std::optional<ReleaseResult> answer;
    cluster->shard(daemon).Release(Key(key), OwnerToken(token),
                                   [&](ReleaseResult result) { answer = std::move(result); });
    return Await(answer);
  }

  // The token that holds the key on each node; "-" if none does.
  std::vector<std::string> Holders(const std::string& key) {
    std::vector<std::string> holders;
    for (std::size_t node = 0; node < cluster->nodes(); ++node) {
      holders.push_back(cluster->server(node).Holder(key).value_or("-"));
    }
    return holders;
  }
  static std::vector<std::string> NoHolders() { return {"-", "-", "-"}; }

  World world{1};
  std::optional<Cluster> cluster;

 private:
  template <typename Result>
  Result Await(std::optional<Result>& answer) {
    const MonotonicTime patience = world.now() + seconds(60);
    while (!answer && world.now() < patience) Pass(microseconds(50));
    EXPECT_TRUE(answer) << "no answer";
    return answer ? std::move(*answer) : Result{};
  }
};

}  // namespace redlock::sim
