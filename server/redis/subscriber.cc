#include "server/redis/subscriber.h"

#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "server/core/check.h"
#include "server/redis/replies.h"
#include "server/redis/scripts.h"

namespace redlock::redis {
namespace {

constexpr Duration kFirstBackoff = std::chrono::milliseconds(50);
constexpr Duration kLongestBackoff = std::chrono::seconds(1);
constexpr Duration kConnectTimeout = std::chrono::seconds(2);
// A connection that lasts for this long ends the back-off. A shorter one may be to a node that
// hangs up after each log-in.
constexpr Duration kSettleTime = std::chrono::seconds(5);

std::string ChannelOf(Topic topic, const Key& key) {
  return std::string(ChannelPrefix(topic)) + key.str();
}

}  // namespace

Subscriber::Subscriber(EventLoop& loop, NodeIndex index, Endpoint endpoint,
                       std::shared_ptr<const NodeTls> tls)
    : loop_(loop),
      index_(index),
      endpoint_(std::move(endpoint)),
      tls_(std::move(tls)),
      backoff_(kFirstBackoff, kLongestBackoff) {}

Subscriber::~Subscriber() {
  if (connection_) connection_->Close();
}

void Subscriber::Subscribe(Topic topic, const Key& key) {
  REDLOCK_DCHECK(loop_.OnStrand());
  const std::string channel = ChannelOf(topic, key);
  channels_.insert(channel);
  if (ready_) {
    SendSubscribe(channel);
  } else if (!connection_ && !pausing_) {
    Connect();
  }
}

void Subscriber::Unsubscribe(Topic topic, const Key& key) {
  const std::string channel = ChannelOf(topic, key);
  channels_.erase(channel);
  if (!ready_) return;
  connection_->SendWithoutReply(std::array<std::string_view, 2>{"UNSUBSCRIBE", channel});
}

void Subscriber::Connect() {
  connection_ = std::make_shared<Connection>(loop_, [this](const std::string&) { OnClosed(); });
  connection_->OnPush([this](const redisReply& reply) { OnPush(reply); });
  connect_timer_ = loop_.After(kConnectTimeout, [this] { GiveUp(); });
  connection_->Open(endpoint_, tls_ ? tls_->context() : nullptr, attempt_++,
                    [this] { OnConnected(); });
}

void Subscriber::OnConnected() {
  settle_timer_ = loop_.After(kSettleTime, [this] {
    backoff_.Reset();
    attempt_ = 0;
  });
  if (const auto words = AuthCommand(endpoint_); !words.empty()) {
    connection_->SendWithoutReply(std::vector<std::string_view>(words.begin(), words.end()));
  }
  ready_ = true;
  if (channels_.empty()) connect_timer_.Cancel();  // no answer is expected
  for (const std::string& channel : channels_) SendSubscribe(channel);
}

void Subscriber::GiveUp() {
  connection_->Close();
  OnClosed();
}

void Subscriber::OnClosed() {
  connection_.reset();
  settle_timer_.Cancel();
  if (std::exchange(ready_, false) && sink_ != nullptr) sink_->OnDeaf(index_);
  pausing_ = true;
  connect_timer_ = loop_.After(backoff_.Next(), [this] {
    pausing_ = false;
    if (!channels_.empty()) Connect();
  });
}

void Subscriber::SendSubscribe(const std::string& channel) {
  connection_->SendWithoutReply(std::array<std::string_view, 2>{"SUBSCRIBE", channel});
}

void Subscriber::OnPush(const redisReply& reply) {
  // An error means that the log-in failed, which the node's command connection reports. But NOPERM
  // is about one channel, and must not end the subscriptions of other keys.
  if (reply.type == REDIS_REPLY_ERROR && !TextOf(reply).starts_with("NOPERM")) {
    GiveUp();
    return;
  }
  connect_timer_.Cancel();
  if (sink_ == nullptr || reply.type != REDIS_REPLY_ARRAY || reply.elements != 3) return;
  const auto text = [&reply](std::size_t i) {
    const redisReply& element = *reply.element[i];
    return element.type == REDIS_REPLY_STRING ? std::string_view(element.str, element.len)
                                              : std::string_view();
  };
  const std::string_view channel = text(1);
  for (const Topic topic : kTopics) {
    if (!channel.starts_with(ChannelPrefix(topic))) continue;
    const Key key{std::string(channel.substr(ChannelPrefix(topic).size()))};
    if (text(0) == "subscribe") {
      sink_->OnListening(index_, topic, key);
    } else if (text(0) == "message") {
      sink_->OnAnnounced(index_, topic, key);
    }
  }
}

}  // namespace redlock::redis
