#include "server/redis/connection.h"

#include <algorithm>
#include <utility>

#include "server/core/check.h"
#include "server/redis/resp.h"

namespace redlock::redis {
namespace {

// Most replies have a few hundred bytes. Those to inspections can list many holders, each with a
// value (StepBatch::kMostInspections). A server that sends an endless reply is not a node.
constexpr std::size_t kMaxReplyBytes = std::size_t{1} << 24;

// hiredis allocates an array's elements when it reads the header, so a hostile length must be
// rejected before that.
constexpr std::size_t kMaxArray = 1024;

using ObjectFunctions = redisReplyObjectFunctions;

const ObjectFunctions& DefaultFunctions() {
  static const ObjectFunctions functions = [] {
    redisReader* const reader = redisReaderCreate();
    const ObjectFunctions defaults = *reader->fn;
    redisReaderFree(reader);
    return defaults;
  }();
  return functions;
}

// The length is an int in hiredis 0.14 and a size_t in 1.x.
void* CreateBoundedArray(const redisReadTask* task, auto elements) {
  if (static_cast<std::size_t>(elements) > kMaxArray) return nullptr;
  return DefaultFunctions().createArray(task, elements);
}

ObjectFunctions* BoundedFunctions() {
  static ObjectFunctions functions = [] {
    ObjectFunctions bounded = DefaultFunctions();
    bounded.createArray = CreateBoundedArray;
    return bounded;
  }();
  return &functions;
}

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};

}  // namespace

std::vector<std::string> AuthCommand(const Endpoint& endpoint) {
  std::string password =
      endpoint.password_file ? endpoint.password_file->Password() : endpoint.password;
  if (password.empty()) return {};
  if (endpoint.user.empty()) return {"AUTH", std::move(password)};
  return {"AUTH", endpoint.user, std::move(password)};
}

redisReader* NewReader() { return redisReaderCreateWithFunctions(BoundedFunctions()); }

Connection::Connection(EventLoop& loop, Closed closed)
    : loop_(loop), closed_(std::move(closed)), reader_(NewReader()) {}

Connection::~Connection() = default;

void Connection::Open(const Endpoint& endpoint, const TlsContext& tls, std::size_t attempt,
                      std::function<void()> connected) {
  connected_ = std::move(connected);
  transport_ = OpenTransport(loop_, endpoint, tls, attempt, *this);
}

void Connection::OnConnected() {
  const auto self = shared_from_this();
  std::exchange(connected_, nullptr)();
}

void Connection::Send(std::span<const std::string_view> command, ReplyHandler handler) {
  REDLOCK_DCHECK(loop_.OnStrand());
  pending_.push_back({loop_.Now(), std::move(handler)});
  AppendCommand(outgoing_, command);
  FlushSoon();
}

void Connection::SendWritten(std::string_view command, ReplyHandler handler) {
  REDLOCK_DCHECK(loop_.OnStrand());
  pending_.push_back({loop_.Now(), std::move(handler)});
  outgoing_ += command;
  FlushSoon();
}

void Connection::SendWithoutReply(std::span<const std::string_view> command) {
  AppendCommand(outgoing_, command);
  FlushSoon();
}

void Connection::FlushSoon() {
  if (flush_posted_ || held_back_) return;
  flush_posted_ = true;
  loop_.Post([self = shared_from_this()] {
    self->flush_posted_ = false;
    self->Flush();
  });
}

void Connection::FlushNow() {
  REDLOCK_DCHECK(loop_.OnStrand());
  if (!held_back_) Flush();
}

void Connection::Flush() {
  if (!transport_ || outgoing_.empty()) return;
  sent_ += transport_->Write(std::string_view(outgoing_).substr(sent_));
  held_back_ = sent_ < outgoing_.size();
  if (held_back_) return;
  outgoing_.clear();
  sent_ = 0;
}

void Connection::OnData(std::string_view data) {
  const auto self = shared_from_this();
  last_read_ = loop_.Now();
  unparsed_ += data.size();
  redisReaderFeed(reader_.get(), data.data(), data.size());
  while (transport_) {
    void* raw = nullptr;
    if (redisReaderGetReply(reader_.get(), &raw) != REDIS_OK) {
      Fail(std::string("bad reply: ") + reader_->errstr);
      return;
    }
    if (raw == nullptr) break;
    const std::unique_ptr<redisReply, FreeReply> reply(static_cast<redisReply*>(raw));
    unparsed_ = 0;
    if (pending_.empty() && pushed_) {
      pushed_(*reply);
      continue;
    }
    if (pending_.empty()) {
      Fail("bad reply: no command is waiting for one");
      return;
    }
    const ReplyHandler handler = std::move(pending_.front().handler);
    pending_.pop_front();
    handler(reply.get());
  }
  if (transport_ && unparsed_ > kMaxReplyBytes) Fail("bad reply: too long");
}

std::optional<MonotonicTime> Connection::waiting_since() const {
  if (pending_.empty()) return std::nullopt;
  return std::max(pending_.front().since, last_read_);
}

void Connection::Close() {
  closed_ = nullptr;
  if (transport_) Abort();
}

void Connection::Discard() {
  closed_ = nullptr;
  transport_.reset();
  connected_ = nullptr;
  std::exchange(pending_, {}).clear();
}

void Connection::Fail(const std::string& why) {
  const auto self = shared_from_this();
  const Closed closed = std::exchange(closed_, nullptr);
  Abort();
  if (closed) closed(why);
}

void Connection::Abort() {
  transport_.reset();
  connected_ = nullptr;
  // The owner has already dropped this connection, so handlers can send only to a new one.
  loop_.Post([self = shared_from_this()] {
    for (Pending& pending : std::exchange(self->pending_, {})) pending.handler(nullptr);
  });
}

}  // namespace redlock::redis
