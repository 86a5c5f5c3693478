#include "server/runtime/shard_thread.h"

#include <spdlog/spdlog.h>
#include <sys/random.h>

#include <array>
#include <cerrno>
#include <functional>
#include <span>
#include <system_error>

#include "server/core/format.h"
#include "server/redis/redis_node.h"

namespace redlock::runtime {
namespace {

// Makes owner tokens with 128 random bits from the OS. Reads the bits for several tokens at a time,
// because one system call per token would be measurable.
class TokenSource {
 public:
  OwnerToken operator()() {
    constexpr std::size_t kTokenBytes = 16;
    if (used_ == bytes_.size()) {
      // getrandom() never returns fewer bytes than requested up to 256.
      if (getrandom(bytes_.data(), bytes_.size(), 0) < 0) {
        throw std::system_error(errno, std::generic_category(), "getrandom");
      }
      used_ = 0;
    }
    const auto bits = std::span(bytes_).subspan(used_, kTokenBytes);
    used_ += kTokenBytes;
    return OwnerToken(std::string(kMadeTokenPrefix) + Hexadecimal(bits));
  }

 private:
  std::array<unsigned char, 256> bytes_{};
  std::size_t used_ = bytes_.size();
};

std::vector<std::unique_ptr<Node>> MakeNodes(EventLoop& loop, const config::Config& config,
                                             std::size_t number, const redis::TlsContext& tls) {
  const redis::NodeOptions options{.node_timeout = config.lock.node_timeout,
                                   .fence_retention = config.fence_retention};
  std::vector<std::unique_ptr<Node>> nodes;
  for (const redis::Endpoint& endpoint : config.nodes) {
    const auto report = [name = endpoint.Name(), number](bool connected, const std::string& why) {
      // Every shard has its own connection. One shard's report of each change is enough.
      const auto level = number == 0 ? spdlog::level::info : spdlog::level::debug;
      if (connected) {
        spdlog::log(level, "node {}: connected (shard {})", name, number);
        if (!why.empty() && number == 0) spdlog::warn("node {}: {}", name, why);
      } else {
        spdlog::log(std::max(level, number == 0 ? spdlog::level::warn : level),
                    "node {}: not connected, retrying (shard {}): {}", name, number, why);
      }
    };
    nodes.push_back(
        std::make_unique<redis::RedisNode>(loop, nodes.size(), endpoint, tls, options, report));
  }
  return nodes;
}

NodeGuard::Report GuardLog(const config::Config& config, std::size_t number) {
  std::vector<std::string> names;
  for (const redis::Endpoint& node : config.nodes) names.push_back(node.Name());
  return [names, number](NodeIndex node, bool barred, const std::string& what) {
    // All shards see the same changes at about the same time. One shard's report is enough.
    const auto level = barred ? spdlog::level::warn : spdlog::level::info;
    spdlog::log(number == 0 ? level : spdlog::level::debug, "node {}: {} (shard {})", names[node],
                what, number);
  };
}

LockOptions OptionsOf(const config::Config& config, std::size_t number) {
  LockOptions options = config.lock;
  options.node_set.coordinates = number == 0;
  for (const redis::Endpoint& node : config.nodes) options.node_set.names.push_back(node.Name());
  return options;
}

Membership::Report SetLog(std::size_t number) {
  // All shards see the same changes. One shard's report is enough.
  return [number](bool warning, const std::string& what) {
    const auto level = warning ? spdlog::level::warn : spdlog::level::info;
    spdlog::log(number == 0 ? level : spdlog::level::debug, "{} (shard {})", what, number);
  };
}

}  // namespace

Duration SystemRandom::UpTo(Duration bound) {
  if (bound <= Duration::zero()) return {};
  return Duration(std::uniform_int_distribution<Duration::rep>(0, bound.count())(engine_));
}

ShardThread::ShardThread(const config::Config& config, std::size_t number, redis::TlsContext tls)
    : shard_(std::make_unique<Shard>(loop_, random_, TokenSource(), OptionsOf(config, number),
                                     MakeNodes(loop_, config, number, tls),
                                     GuardLog(config, number), SetLog(number))),
      thread_([this] { loop_.Run(); }) {}

ShardThread::~ShardThread() {
  loop_.Stop();
  thread_.join();
}

ShardPool::ShardPool(const config::Config& config) : max_ttl_(config.max_ttl) {
  redis::TlsContext tls;
  for (const redis::Endpoint& node : config.nodes) {
    if (node.kind == redis::Endpoint::Kind::kTls && !tls) {
      tls = redis::MakeTlsContext(config.redis_tls);
    }
  }
  for (std::size_t i = 0; i < config.shards; ++i) {
    shards_.push_back(std::make_unique<ShardThread>(config, i, tls));
  }
  coordinator().Do([this](Shard& shard) {
    shard.WatchRecord([this](const SetRecord& record) { max_ttl_ = record.max_ttl; });
  });
}

std::size_t ShardPool::IndexFor(const Key& key) const {
  return std::hash<std::string_view>()(key.value()) % shards_.size();
}

std::size_t ShardPool::Sum(const std::function<std::size_t(Shard&)>& work) {
  std::size_t sum = 0;
  for (const auto& shard : shards_) {
    std::promise<std::size_t> promise;
    shard->Do([&](Shard& core) { promise.set_value(work(core)); });
    sum += promise.get_future().get();
  }
  return sum;
}

}  // namespace redlock::runtime
