// Runs a shard with its own thread, event loop, node connections and random numbers.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <random>
#include <span>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "server/config/config.h"
#include "server/core/shard.h"
#include "server/loop/event_loop.h"
#include "server/redis/node_tls.h"

namespace redlock::runtime {

// For jitter and attempt ids. Owner tokens come from the OS.
class SystemRandom final : public Random {
 public:
  [[nodiscard]] Duration UpTo(Duration bound) override;
  [[nodiscard]] std::uint64_t Bits() override { return engine_(); }

 private:
  std::mt19937_64 engine_{std::random_device{}()};
};

class ShardThread {
 public:
  // Starts the thread, which connects to the nodes.
  ShardThread(const config::Config& config, std::size_t number,
              const std::shared_ptr<const redis::NodeTls>& tls);
  // Ends the thread. Drops operations that are in progress.
  ~ShardThread();
  ShardThread(const ShardThread&) = delete;
  ShardThread& operator=(const ShardThread&) = delete;

  // Runs `work` on the shard's strand; at once if the caller is on it. May be called from any
  // thread.
  template <typename Work>
  void Do(Work&& work) {
    if (loop_.OnStrand()) {
      work(*shard_);
    } else {
      // Shared, because std::function requires a copyable target and `work` may be move-only.
      loop_.Post([this, shared = std::make_shared<std::decay_t<Work>>(std::forward<Work>(work))] {
        (*shared)(*shard_);
      });
    }
  }

  [[nodiscard]] EventLoop& loop() { return loop_; }

 private:
  EventLoop loop_;
  SystemRandom random_;
  std::unique_ptr<Shard> shard_;  // on the loop's strand only, once the thread runs
  std::thread thread_;
};

// All shards of the daemon. The hash of a key selects its shard.
class ShardPool {
 public:
  // Throws std::runtime_error if the TLS files for the nodes cannot be used.
  explicit ShardPool(const config::Config& config);

  [[nodiscard]] ShardThread& For(const Key& key) { return *shards_[IndexFor(key)]; }
  [[nodiscard]] std::size_t IndexFor(const Key& key) const;
  // The shard that coordinates changes of the node set.
  [[nodiscard]] ShardThread& coordinator() { return *shards_.front(); }
  // The longest TTL of a request: that of the node set, or while none is known, --max-ttl.
  [[nodiscard]] Duration max_ttl() const { return max_ttl_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::span<const std::unique_ptr<ShardThread>> shards() const { return shards_; }
  // Null if no node is reached over TLS.
  [[nodiscard]] redis::NodeTls* node_tls() const { return node_tls_.get(); }

  // Runs `work` on one shard after the other, and waits for each.
  void ForEach(const std::function<void(Shard&)>& work);
  // Like ForEach; returns the sum of the results.
  [[nodiscard]] std::size_t Sum(const std::function<std::size_t(Shard&)>& work);

 private:
  std::atomic<Duration> max_ttl_;
  std::shared_ptr<redis::NodeTls> node_tls_;
  std::vector<std::unique_ptr<ShardThread>> shards_;
};

}  // namespace redlock::runtime
