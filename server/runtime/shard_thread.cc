#include "server/runtime/shard_thread.h"

#include <spdlog/spdlog.h>
#include <sys/random.h>

#include <array>
#include <cerrno>
#include <functional>
#include <span>
#include <system_error>

#include "server/core/format.h"
#include "server/observe/throttle.h"
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

// All shards see the same changes at about the same time. The report of one is enough; those of the
// others are details. The throttle keeps the last state of a node or a set that changes often.
void Log(std::size_t shard, spdlog::level::level_enum level, std::string_view kind,
         std::string_view node, const std::string& what) {
  if (shard == 0) {
    observe::LogThrottled(level, kind, node, what + " (shard 0)");
  } else {
    spdlog::debug("{} (shard {})", what, shard);
  }
}

std::vector<std::unique_ptr<Node>> MakeNodes(EventLoop& loop, const config::Config& config,
                                             std::size_t number,
                                             const std::shared_ptr<const redis::NodeTls>& tls) {
  const redis::NodeOptions options{.node_timeout = config.lock.node_timeout,
                                   .fence_retention = config.fence_retention};
  const auto writer = std::make_shared<redis::StepWriter>();
  std::vector<std::unique_ptr<Node>> nodes;
  for (const redis::Endpoint& endpoint : config.nodes) {
    const auto report = [name = endpoint.Name(), number](bool connected, const std::string& why) {
      if (connected) {
        Log(number, spdlog::level::info, "node", name, fmt::format("node {}: connected", name));
        if (!why.empty()) {
          Log(number, spdlog::level::warn, "node setting", name,
              fmt::format("node {}: {}", name, why));
        }
      } else {
        Log(number, spdlog::level::warn, "node", name,
            fmt::format("node {}: not connected, retrying: {}", name, why));
      }
    };
    nodes.push_back(std::make_unique<redis::RedisNode>(loop, nodes.size(), endpoint, tls, writer,
                                                       options, report));
  }
  return nodes;
}

NodeGuard::Report GuardLog(const config::Config& config, std::size_t number) {
  std::vector<std::string> names;
  for (const redis::Endpoint& node : config.nodes) names.push_back(node.Name());
  return [names, number](NodeIndex node, bool barred, const std::string& what) {
    Log(number, barred ? spdlog::level::warn : spdlog::level::info, "node guard", names[node],
        fmt::format("node {}: {}", names[node], what));
  };
}

LockOptions OptionsOf(const config::Config& config, std::size_t number) {
  LockOptions options = config.lock;
  options.node_set.coordinates = number == 0;
  for (const redis::Endpoint& node : config.nodes) options.node_set.names.push_back(node.Name());
  return options;
}

GrantWatch::Report GrantLog(const config::Config& config) {
  std::vector<std::string> names;
  for (const redis::Endpoint& node : config.nodes) names.push_back(node.Name());
  return [names](NodeIndex node, bool good, const std::string& what) {
    observe::LogThrottled(good ? spdlog::level::info : spdlog::level::warn, "node grants",
                          names[node], fmt::format("node {}: {}", names[node], what));
  };
}

Membership::Report SetLog(std::size_t number) {
  return [number](bool warning, const std::string& what) {
    Log(number, warning ? spdlog::level::warn : spdlog::level::info, "node set", "", what);
  };
}

}  // namespace

Duration SystemRandom::UpTo(Duration bound) {
  if (bound <= Duration::zero()) return {};
  return Duration(std::uniform_int_distribution<Duration::rep>(0, bound.count())(engine_));
}

ShardThread::ShardThread(const config::Config& config, std::size_t number,
                         const std::shared_ptr<const redis::NodeTls>& tls)
    : shard_(std::make_unique<Shard>(loop_, random_, TokenSource(), OptionsOf(config, number),
                                     MakeNodes(loop_, config, number, tls),
                                     NodeReports{.guard = GuardLog(config, number),
                                                 .set = SetLog(number),
                                                 .grants = GrantLog(config)})),
      thread_([this] { loop_.Run(); }) {}

ShardThread::~ShardThread() {
  loop_.Stop();
  thread_.join();
}

ShardPool::ShardPool(const config::Config& config) : max_ttl_(config.max_ttl) {
  for (const redis::Endpoint& node : config.nodes) {
    if (node.kind == redis::Endpoint::Kind::kTls && !node_tls_) {
      node_tls_ = std::make_shared<redis::NodeTls>(config.redis_tls);
    }
  }
  for (std::size_t i = 0; i < config.shards; ++i) {
    shards_.push_back(std::make_unique<ShardThread>(config, i, node_tls_));
  }
  coordinator().Do([this](Shard& shard) {
    shard.WatchRecord([this](const SetRecord& record) { max_ttl_ = record.max_ttl; });
  });
}

std::size_t ShardPool::IndexFor(const Key& key) const {
  return std::hash<std::string_view>()(key.names()) % shards_.size();
}

void ShardPool::ForEach(const std::function<void(Shard&)>& work) {
  for (const auto& shard : shards_) {
    std::promise<void> done;
    shard->Do([&](Shard& core) {
      work(core);
      done.set_value();
    });
    done.get_future().wait();
  }
}

std::size_t ShardPool::Sum(const std::function<std::size_t(Shard&)>& work) {
  std::size_t sum = 0;
  ForEach([&](Shard& core) { sum += work(core); });
  return sum;
}

}  // namespace redlock::runtime
