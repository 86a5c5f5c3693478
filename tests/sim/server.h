// A model of one Redis node with redlockd's scripts on it: the same answers, in virtual time.
// tests/redis runs the real scripts through the same conformance cases.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/core/node.h"
#include "tests/sim/world.h"

namespace redlock::sim {

class Server {
 public:
  // `rate`: how fast the node's clock runs against the world's, e.g. 1.005.
  Server(World& world, double rate) : world_(world), rate_(rate) {}

  [[nodiscard]] NodeReply Acquire(const std::string& key, const std::string& token, Duration ttl,
                                  FencingToken fence, AttemptId attempt, bool adopt);
  [[nodiscard]] NodeReply HandOver(const std::string& key, const std::string& from,
                                   const std::string& to, Duration ttl, FencingToken fence,
                                   AttemptId attempt);
  [[nodiscard]] NodeReply Extend(const std::string& key, const std::string& token, Duration ttl,
                                 FencingToken raise_to);
  [[nodiscard]] NodeReply Heal(const std::string& key, const std::string& token, Duration ttl,
                               FencingToken fence);
  [[nodiscard]] NodeReply Release(const std::string& key, const std::string& token,
                                  std::optional<AttemptId> only_attempt, FencingToken seal,
                                  bool announce);
  [[nodiscard]] NodeReply Inspect(const std::string& key);

  // Calls back at each announcement of the key, until the subscription is ended.
  using Listener = std::function<void(const std::string& key)>;
  void Subscribe(const std::string& key, const void* who, Listener listener);
  void Unsubscribe(const std::string& key, const void* who);

  // A stranger's `SET key token NX PX ttl`.
  [[nodiscard]] bool SetNx(const std::string& key, const std::string& token, Duration ttl);
  // What happens to a node without persistence that restarts.
  void LoseData();

  // The token that holds the key, or nothing.
  [[nodiscard]] std::optional<std::string> Holder(const std::string& key);
  [[nodiscard]] std::size_t keys();
  [[nodiscard]] std::size_t listeners() const {
    std::size_t count = 0;
    for (const auto& [key, listeners] : listeners_) count += listeners.size();
    return count;
  }

 private:
  struct Entry {
    std::string token;
    Duration expires{};  // on the node's clock
  };
  struct Meta {
    FencingToken fence;
    AttemptId attempt;
    AttemptId kept;
  };

  [[nodiscard]] Duration Clock() const;
  [[nodiscard]] Entry* Find(const std::string& key);  // drops it if it has expired
  void Put(const std::string& key, const std::string& token, Duration ttl);

  World& world_;
  double rate_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, Meta> meta_;
  std::map<std::string, std::vector<std::pair<const void*, Listener>>> listeners_;
};

}  // namespace redlock::sim
