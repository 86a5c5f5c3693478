#include "tests/bench/documented_client.h"

#include <algorithm>
#include <stdexcept>

namespace redlock::bench {
namespace {
constexpr const char* kDelete =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) "
    "else return 0 end";
}  // namespace

DocumentedClient::DocumentedClient(const std::vector<std::uint16_t>& ports) {
  for (const std::uint16_t port : ports) {
    nodes_.emplace_back(redisConnect("127.0.0.1", port));
    if (!nodes_.back() || nodes_.back()->err != 0)
      throw std::runtime_error("cannot connect to a node");
    const Reply reply(
        static_cast<redisReply*>(redisCommand(nodes_.back().get(), "SCRIPT LOAD %s", kDelete)));
    if (!reply) throw std::runtime_error("cannot connect to a node");
    delete_hash_ = std::string(reply->str, reply->len);
  }
}

std::vector<DocumentedClient::Reply> DocumentedClient::Answers() {
  for (const auto& node : nodes_) {
    int done = 0;
    while (done == 0) {
      if (redisBufferWrite(node.get(), &done) != REDIS_OK) throw std::runtime_error(node->errstr);
    }
  }
  std::vector<Reply> replies;
  for (const auto& node : nodes_) {
    void* reply = nullptr;
    if (redisGetReply(node.get(), &reply) != REDIS_OK) throw std::runtime_error(node->errstr);
    replies.emplace_back(static_cast<redisReply*>(reply));
  }
  return replies;
}

std::optional<std::string> DocumentedClient::Acquire(const std::string& key,
                                                     std::chrono::milliseconds ttl) {
  const std::string token = std::to_string(random_()) + std::to_string(random_());
  const auto begin = std::chrono::steady_clock::now();
  for (const auto& node : nodes_) {
    redisAppendCommand(node.get(), "SET %b %b NX PX %lld", key.data(), key.size(), token.data(),
                       token.size(), static_cast<long long>(ttl.count()));
  }
  const auto replies = Answers();
  const auto granted = std::count_if(replies.begin(), replies.end(), [](const Reply& reply) {
    return reply->type == REDIS_REPLY_STATUS;
  });
  const auto drift = ttl / 100 + std::chrono::milliseconds(2);
  const bool valid = std::chrono::steady_clock::now() - begin < ttl - drift;
  if (valid && static_cast<std::size_t>(granted) >= nodes_.size() / 2 + 1) return token;
  Release(key, token);
  return std::nullopt;
}

void DocumentedClient::Release(const std::string& key, const std::string& token) {
  for (const auto& node : nodes_) {
    redisAppendCommand(node.get(), "EVALSHA %b 1 %b %b", delete_hash_.data(), delete_hash_.size(),
                       key.data(), key.size(), token.data(), token.size());
  }
  (void)Answers();
}

}  // namespace redlock::bench
