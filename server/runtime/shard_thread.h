// A shard with the thread, the connections and the chance that it lives on.
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
#include "server/redis/transport.h"

namespace redlock::runtime {

// Jitter and attempts; tokens come from the OS.
class SystemRandom final : public Random {
 public:
  [[nodiscard]] Duration UpTo(Duration bound) override;
  [[nodiscard]] std::uint64_t Bits() override { return engine_(); }

 private:
  std::mt19937_64 engine_{std::random_device{}()};
};

class ShardThread {
 public:
  // Starts the thread, which starts to connect to the nodes.
  ShardThread(const config::Config& config, std::size_t number, redis::TlsContext tls);
  // Ends the thread; operations under way are dropped.
  ~ShardThread();
  ShardThread(const ShardThread&) = delete;
  ShardThread& operator=(const ShardThread&) = delete;

  // From any thread: does `work` in a turn of the shard, at once where the caller has it.
  template <typename Work>
  void Do(Work&& work) {
    if (loop_.OnStrand()) {
      work(*shard_);
    } else {
      // Shared, because a function has to be copyable and work may hold what is not.
      loop_.Post([this, shared = std::make_shared<std::decay_t<Work>>(std::forward<Work>(work))] {
        (*shared)(*shard_);
      });
    }
  }

  [[nodiscard]] EventLoop& loop() { return loop_; }

 private:
  EventLoop loop_;
  SystemRandom random_;
  std::unique_ptr<Shard> shard_;  // in turns of the loop only, once its thread runs
  std::thread thread_;
};

// All shards of the daemon. A key belongs to one of them by its hash.
class ShardPool {
 public:
  // Throws where the TLS files of the configuration cannot be used.
  explicit ShardPool(const config::Config& config);

  [[nodiscard]] ShardThread& For(const Key& key) { return *shards_[IndexFor(key)]; }
  [[nodiscard]] std::size_t IndexFor(const Key& key) const;
  [[nodiscard]] std::span<const std::unique_ptr<ShardThread>> shards() const { return shards_; }

  // Waits until every shard has carried out `work`, and adds up what it returned.
  [[nodiscard]] std::size_t Sum(const std::function<std::size_t(Shard&)>& work);

 private:
  std::vector<std::unique_ptr<ShardThread>> shards_;
};

}  // namespace redlock::runtime
