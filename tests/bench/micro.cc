// Measures the parts of the hot path that need no other process, one at a time.
#include <benchmark/benchmark.h>
#include <hiredis/hiredis.h>

#include <array>

#include "proto/redlock/v1/lock_service.pb.h"
#include "server/redis/connection.h"
#include "server/redis/replies.h"
#include "server/redis/step_batch.h"
#include "server/rpc/message.h"
#include "server/rpc/requests.h"
#include "server/rpc/wire.h"
#include "tests/sim/cluster.h"

namespace redlock::bench {
namespace {

const Key kKey("orders/4711");
const OwnerToken kToken("rl-0123456789abcdef0123456789abcdef");
const Owner kNobody;

// Everything that the core does to acquire and release a lock, over simulated nodes.
void AcquireAndRelease(benchmark::State& state) {
  sim::World world(1);
  sim::ClusterOptions options;
  options.nodes = static_cast<std::size_t>(state.range(0));
  sim::Cluster cluster(world, options);
  Shard& shard = cluster.shard(0);
  const auto step = [&world] { world.RunUntil(world.now() + std::chrono::milliseconds(1)); };
  world.RunUntil(world.now() + std::chrono::seconds(3));
  for (auto _ : state) {
    std::optional<Lease> lease;
    bool released = false;
    shard.Acquire({.key = kKey, .ttl = std::chrono::seconds(10)},
                  [&](AcquireResult result) { lease = result.lease; });
    while (!lease) step();
    shard.Release(kKey, lease->token, [&](ReleaseResult) { released = true; });
    while (!released) step();
  }
}

void WriteABatch(benchmark::State& state) {
  const std::string hash(40, 'a');
  for (auto _ : state) {
    redis::StepBatch batch;
    redis::StepWriter writer;
    for (int i = 0; i < state.range(0); ++i) {
      const AcquireStep step{.key = kKey,
                             .token = kToken,
                             .ttl = std::chrono::seconds(10),
                             .longest = std::chrono::minutes(5),
                             .fence = {1'800'000'000'000'000},
                             .attempt = {static_cast<std::uint64_t>(i)},
                             .owner = kNobody};
      batch.Add(writer.Write(step),
                {.stamp = "7-12345678901234567890", .mark = "0123456789abcdef"});
    }
    benchmark::DoNotOptimize(batch.Command(hash, std::chrono::minutes(1)));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void ReadABatchsAnswer(benchmark::State& state) {
  const auto steps = static_cast<std::size_t>(state.range(0));
  std::string wire = "*" + std::to_string(steps + 1) + "\r\n";
  for (std::size_t i = 0; i < steps; ++i) wire += ":1\r\n";
  wire += ":1800000000000000\r\n";
  redisReader* const reader = redis::NewReader();
  for (auto _ : state) {
    redisReaderFeed(reader, wire.data(), wire.size());
    void* raw = nullptr;
    redisReaderGetReply(reader, &raw);
    auto* const reply = static_cast<redisReply*>(raw);
    const redis::BatchReply answers(*reply, steps, WallTime());
    for (std::size_t i = 0; i < steps; ++i) {
      benchmark::DoNotOptimize(answers.At(i, {redis::StepKind::kAcquire, {1}}));
    }
    freeReplyObject(reply);
  }
  redisReaderFree(reader);
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void ReadAndCheckARequest(benchmark::State& state) {
  v1::AcquireRequest request;
  request.set_key(kKey.str());
  request.mutable_ttl()->set_seconds(10);
  const grpc::ByteBuffer bytes = rpc::Serialize(request);
  const rpc::RequestRules rules{
      .max_ttl = std::chrono::minutes(5), .default_retry = {}, .max_items = 10};
  for (auto _ : state) {
    v1::AcquireRequest parsed;
    benchmark::DoNotOptimize(rpc::ParseMessage(bytes, parsed));
    benchmark::DoNotOptimize(rpc::Check(parsed, rules));
  }
}

void WriteAResponse(benchmark::State& state) {
  const rpc::NodeNames names = {"10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"};
  const Lease lease{.key = kKey, .token = kToken, .fence = {1'800'000'000'000'000}};
  const Votes votes = {{0, Outcome::kGranted, "", std::chrono::microseconds(250)},
                       {1, Outcome::kGranted, "", std::chrono::microseconds(260)}};
  for (auto _ : state) {
    v1::AcquireResponse response;
    rpc::Fill(*response.mutable_lease(), lease);
    rpc::Fill(*response.mutable_votes(), votes, names);
    benchmark::DoNotOptimize(rpc::Serialize(response));
  }
}

BENCHMARK(AcquireAndRelease)->Arg(3)->Arg(5);
BENCHMARK(WriteABatch)->Arg(1)->Arg(64);
BENCHMARK(ReadABatchsAnswer)->Arg(1)->Arg(64);
BENCHMARK(ReadAndCheckARequest);
BENCHMARK(WriteAResponse);

}  // namespace
}  // namespace redlock::bench

BENCHMARK_MAIN();
