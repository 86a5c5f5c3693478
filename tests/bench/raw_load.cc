// The limit of the nodes: what a client achieves that does nothing else.
#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <deque>
#include <span>
#include <stdexcept>
#include <string_view>

#include "server/redis/replies.h"
#include "server/redis/resp.h"
#include "server/redis/step_batch.h"
#include "tests/bench/load.h"

namespace redlock::bench {
namespace {

constexpr std::string_view kTtl = "10000";
constexpr std::size_t kMostSteps = 64;  // per batch: best for a client that does nothing else
constexpr Duration kRetention = std::chrono::minutes(1);
constexpr std::string_view kCompareAndDelete =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) "
    "else return 0 end";

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;

// One connection: gathers commands and writes them at once, reads replies as they arrive.
class Node {
 public:
  explicit Node(std::uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      throw std::runtime_error("cannot connect to a node");
    }
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  ~Node() {
    redisReaderFree(reader_);
    close(fd_);
  }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  [[nodiscard]] int fd() const { return fd_; }
  std::string out;
  using Steps = std::deque<std::pair<std::size_t, std::size_t>>;  // slots and their steps
  Steps waiting;
  redis::StepBatch steps;
  std::array<Steps, redis::kStepGroups> added;  // to the batch
  std::deque<std::size_t> batches;              // the numbers of steps of the batches under way

  void Flush() {
    for (std::size_t sent = 0; sent < out.size();) {
      const ssize_t size = send(fd_, out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
      if (size <= 0) throw std::runtime_error("cannot send to a node");
      sent += static_cast<std::size_t>(size);
    }
    out.clear();
  }
  void Receive() {
    std::array<char, 64 * 1024> buffer;
    const ssize_t size = recv(fd_, buffer.data(), buffer.size(), 0);
    if (size <= 0) throw std::runtime_error("cannot receive from a node");
    redisReaderFeed(reader_, buffer.data(), static_cast<std::size_t>(size));
  }
  [[nodiscard]] Reply Next() {
    void* raw = nullptr;
    if (redisReaderGetReply(reader_, &raw) != REDIS_OK)
      throw std::runtime_error("invalid reply from a node");
    return Reply(static_cast<redisReply*>(raw));
  }
  // For the setup: sends one command and waits for the reply.
  [[nodiscard]] std::string Ask(std::span<const std::string_view> words) {
    redis::AppendCommand(out, words);
    Flush();
    while (true) {
      if (const Reply reply = Next()) return reply->str ? std::string(reply->str, reply->len) : "";
      Receive();
    }
  }

 private:
  const int fd_;
  redisReader* const reader_ = redisReaderCreate();
};

class Raw final : public Load {
 public:
  Raw(const std::vector<std::uint16_t>& ports, RawMode mode)
      : mode_(mode),
        most_steps_(mode == RawMode::kOwnScriptEach ? 1 : kMostSteps),
        epoll_(epoll_create1(0)) {
    for (const std::uint16_t port : ports) {
      Node& node = *nodes_.emplace_back(std::make_unique<Node>(port));
      epoll_event event{.events = EPOLLIN, .data = {.ptr = &node}};
      epoll_ctl(epoll_, EPOLL_CTL_ADD, node.fd(), &event);
      compare_and_delete_ =
          node.Ask(std::array<std::string_view, 3>{"SCRIPT", "LOAD", kCompareAndDelete});
      own_script_ =
          node.Ask(std::array<std::string_view, 3>{"SCRIPT", "LOAD", redis::StepsSource()});
      redis::ParseMark(node.Ask(std::array<std::string_view, 2>{"GET", redis::kMarkKey}),
                       stamps_.emplace_back(), marks_.emplace_back());
    }
  }
  ~Raw() override { close(epoll_); }
  Raw(const Raw&) = delete;
  Raw& operator=(const Raw&) = delete;

  LoadResult Run(std::size_t outstanding, std::chrono::nanoseconds time) override {
    Stopwatch watch(outstanding);
    slots_.assign(outstanding, {});
    for (std::size_t slot = 0; slot < outstanding; ++slot) Begin(slot, watch);
    FlushAll();
    std::size_t under_way = outstanding;
    while (under_way > 0 || AnswersAreOut()) {
      std::array<epoll_event, 16> events;
      const int ready = epoll_wait(epoll_, events.data(), events.size(), 10'000);
      if (ready <= 0) throw std::runtime_error("nodes do not answer");
      const bool goes_on = Clock::now() < watch.start() + time;
      for (int i = 0; i < ready; ++i) {
        Node& node = *static_cast<Node*>(events[static_cast<std::size_t>(i)].data.ptr);
        node.Receive();
        while (const Reply reply = node.Next()) {
          if (reply->type == REDIS_REPLY_ERROR) throw std::runtime_error(reply->str);
          const bool batch = mode_ != RawMode::kDocumented;
          const std::size_t answers = batch ? node.batches.front() : 1;
          if (batch) node.batches.pop_front();
          for (std::size_t answer = 0; answer < answers; ++answer) {
            const auto [slot, step] = node.waiting.front();
            node.waiting.pop_front();
            const redisReply& one = batch ? *reply->element[answer] : *reply;
            if (OnReply(slot, step, one, watch, goes_on)) --under_way;
          }
        }
      }
      FlushAll();
    }
    return watch.Result();
  }

 private:
  struct Slot {
    std::size_t step = 0;  // even: acquires, odd: releases
    std::size_t granted = 0;
    std::string key, token;
  };

  [[nodiscard]] bool AnswersAreOut() const {
    for (const auto& node : nodes_) {
      if (!node->waiting.empty()) return true;
    }
    return false;
  }
  template <typename Step>
  void Add(Node& node, std::size_t number, const Step& step, const Expected& expected = {}) {
    const redis::StepText& text = writer_.Write(step);
    node.steps.Add(text, expected);
    node.added.at(static_cast<std::size_t>(text.group)).emplace_back(number, slots_[number].step);
    if (node.steps.size() == most_steps_) CloseBatch(node);
  }
  void CloseBatch(Node& node) {
    if (node.steps.size() == 0) return;
    for (auto& group : node.added) {
      node.waiting.insert(node.waiting.end(), group.begin(), group.end());
      group.clear();
    }
    node.out += node.steps.Command(own_script_, kRetention);
    node.batches.push_back(node.steps.size());
    node.steps = {};
  }
  void FlushAll() {
    for (const auto& node : nodes_) {
      CloseBatch(*node);
      if (!node->out.empty()) node->Flush();
    }
  }

  void Begin(std::size_t number, Stopwatch& watch) {
    watch.Began(number);
    Slot& slot = slots_[number];
    slot.key = KeyOf(number, slot.step / 2);
    slot.token = "rl-0123456789abcdef" + std::to_string(1'000'000'000'000'000 + ++tokens_);
    slot.granted = 0;
    const std::uint64_t fence =
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                       std::chrono::system_clock::now().time_since_epoch())
                                       .count()) +
        tokens_ % 1000;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      Node& node = *nodes_[i];
      if (mode_ == RawMode::kDocumented) {
        redis::AppendCommand(node.out, std::array<std::string_view, 6>{"SET", slot.key, slot.token,
                                                                       "NX", "PX", kTtl});
        node.waiting.emplace_back(number, slot.step);
      } else {
        const Key key(slot.key);
        const OwnerToken token(slot.token);
        const Owner no_owner;
        Add(node, number,
            AcquireStep{.key = key,
                        .token = token,
                        .ttl = std::chrono::seconds(10),
                        .longest = std::chrono::minutes(5),
                        .fence = {fence},
                        .attempt = {0x9e3779b97f4a7c15U * tokens_},
                        .owner = no_owner},
            {.stamp = stamps_[i], .mark = marks_[i]});
      }
    }
  }

  void Release(std::size_t number) {
    Slot& slot = slots_[number];
    ++slot.step;
    slot.granted = 0;
    for (const auto& node : nodes_) {
      if (mode_ == RawMode::kDocumented) {
        redis::AppendCommand(node->out,
                             std::array<std::string_view, 5>{"EVALSHA", compare_and_delete_, "1",
                                                             slot.key, slot.token});
        node->waiting.emplace_back(number, slot.step);
      } else {
        const Key key(slot.key);
        const OwnerToken token(slot.token);
        Add(*node, number,
            ReleaseStep{
                .key = key, .token = token, .only_attempt = {}, .seal = {}, .announce = true});
      }
    }
  }

  // Returns whether the slot is done.
  bool OnReply(std::size_t number, std::size_t step, const redisReply& reply, Stopwatch& watch,
               bool goes_on) {
    Slot& slot = slots_[number];
    if (step != slot.step) return false;  // a reply after the quorum was reached
    const bool granted = reply.type == REDIS_REPLY_STATUS ||
                         (reply.type == REDIS_REPLY_INTEGER && reply.integer == 1) ||
                         (reply.type == REDIS_REPLY_ARRAY && reply.element[0]->integer == 1);
    if (!granted || ++slot.granted < nodes_.size() / 2 + 1) return false;
    if (step % 2 == 0) {
      watch.Acquired(number);
      Release(number);
      return false;
    }
    watch.Released(number);
    ++slot.step;
    if (!goes_on) return true;
    Begin(number, watch);
    return false;
  }

  const RawMode mode_;
  const std::size_t most_steps_;  // per batch
  const int epoll_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::string> stamps_;
  std::vector<std::string> marks_;
  std::string compare_and_delete_, own_script_;
  redis::StepWriter writer_;
  std::vector<Slot> slots_;
  std::uint64_t tokens_ = 0;
};

}  // namespace

std::unique_ptr<Load> RawLoad(const std::vector<std::uint16_t>& ports, RawMode mode) {
  return std::make_unique<Raw>(ports, mode);
}

}  // namespace redlock::bench
