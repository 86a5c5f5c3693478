// A Redlock client as the Redis documentation describes it, as a stand-in for client libraries. It
// asks all nodes at once, waits for all replies, and rolls back if it has no quorum; the caller
// polls.
// https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/
#pragma once

#include <hiredis/hiredis.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace redlock::bench {

// For one thread. A node that fails ends the bench.
class DocumentedClient {
 public:
  explicit DocumentedClient(const std::vector<std::uint16_t>& ports);

  // Returns the token if the lock was acquired.
  [[nodiscard]] std::optional<std::string> Acquire(const std::string& key,
                                                   std::chrono::milliseconds ttl);
  void Release(const std::string& key, const std::string& token);

 private:
  struct Free {
    void operator()(redisContext* context) const { redisFree(context); }
    void operator()(redisReply* reply) const { freeReplyObject(reply); }
  };
  using Reply = std::unique_ptr<redisReply, Free>;

  // Reads one reply from each node.
  std::vector<Reply> Answers();

  std::vector<std::unique_ptr<redisContext, Free>> nodes_;
  std::string delete_hash_;
  std::mt19937_64 random_{std::random_device{}()};
};

}  // namespace redlock::bench
