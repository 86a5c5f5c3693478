#include "server/redis/subscriber.h"

#include <array>
#include <utility>

#include "server/core/check.h"
#include "server/redis/scripts.h"

namespace redlock::redis {
namespace {

constexpr Duration kFirstBackoff = std::chrono::milliseconds(50);
constexpr Duration kLongestBackoff = std::chrono::seconds(1);

}  // namespace

Subscriber::Subscriber(EventLoop& loop, NodeIndex index, Endpoint endpoint, TlsContext tls)
    : loop_(loop),
      index_(index),
      endpoint_(std::move(endpoint)),
      tls_(std::move(tls)),
      backoff_(kFirstBackoff, kLongestBackoff) {}

Subscriber::~Subscriber() {
  if (connection_) connection_->Close();
}

void Subscriber::Subscribe(const Key& key) {
  REDLOCK_DCHECK(loop_.OnStrand());
  keys_.insert(key.value());
  if (ready_) {
    SendSubscribe(key.value());
  } else if (!connection_) {
    Connect();
  }
}

void Subscriber::Unsubscribe(const Key& key) {
  keys_.erase(key.value());
  if (!ready_) return;
  const std::string channel = AnnouncementChannel(key);
  connection_->SendWithoutReply(std::array<std::string_view, 2>{"UNSUBSCRIBE", channel});
}

void Subscriber::Connect() {
  connection_ = std::make_shared<Connection>(loop_, [this](const std::string&) { OnClosed(); });
  connection_->OnPush([this](const redisReply& reply) { OnPush(reply); });
  connection_->Open(endpoint_, tls_, [this] { OnConnected(); });
}

void Subscriber::OnConnected() {
  if (const auto words = AuthCommand(endpoint_); !words.empty()) {
    // The node's command connection reports a failed login. Here, it means that no subscription
    // is confirmed.
    connection_->SendWithoutReply(words);
  }
  ready_ = true;
  for (const std::string& key : keys_) SendSubscribe(key);
}

void Subscriber::OnClosed() {
  connection_.reset();
  if (std::exchange(ready_, false) && sink_ != nullptr) sink_->OnDeaf(index_);
  connect_timer_ = loop_.After(backoff_.Next(), [this] {
    if (!keys_.empty() && !connection_) Connect();
  });
}

void Subscriber::SendSubscribe(const std::string& key) {
  const std::string channel = AnnouncementChannel(Key(key));
  connection_->SendWithoutReply(std::array<std::string_view, 2>{"SUBSCRIBE", channel});
}

void Subscriber::OnPush(const redisReply& reply) {
  if (sink_ == nullptr || reply.type != REDIS_REPLY_ARRAY || reply.elements != 3) return;
  const auto text = [&reply](std::size_t i) {
    const redisReply& element = *reply.element[i];
    return element.type == REDIS_REPLY_STRING ? std::string_view(element.str, element.len)
                                              : std::string_view();
  };
  static const std::size_t prefix = AnnouncementChannel(Key()).size();
  const std::string_view channel = text(1);
  if (channel.size() < prefix) return;
  const Key key{std::string(channel.substr(prefix))};
  if (text(0) == "subscribe") {
    backoff_.Reset();
    sink_->OnListening(index_, key);
  } else if (text(0) == "message") {
    sink_->OnAnnounced(index_, key);
  }
}

}  // namespace redlock::redis
