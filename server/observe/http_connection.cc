#include "server/observe/http_connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "server/core/format.h"

namespace redlock::observe {
namespace {

constexpr Duration kDeadline = std::chrono::seconds(5);

constexpr FdWatcher::Events kNothing{};
constexpr FdWatcher::Events kReadable{.readable = true, .writable = false};
constexpr FdWatcher::Events kWritable{.readable = false, .writable = true};

bool MayRetry() { return errno == EAGAIN || errno == EINTR; }

}  // namespace

HttpConnection::HttpConnection(EventLoop& loop, OwnedFd fd, std::uint64_t id, Listener& listener)
    : loop_(loop),
      fd_(std::move(fd)),
      id_(id),
      listener_(listener),
      watcher_(loop, fd_.get(), [this](FdWatcher::Events) { OnReady(); }) {
  // Holds after close() too, while the kernel still has a part of the answer.
  const auto timeout = static_cast<unsigned>(Millis(kDeadline));
  setsockopt(fd_.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
  SetDeadline();
  Enter(State::kReceiving, kReadable);
}

HttpConnection::~HttpConnection() {
  if (state_ == State::kSending) DiscardUnsent();
}

void HttpConnection::Answer(const HttpAnswer& answer) {
  answer_ = Format(answer, head_only_);
  SetDeadline();
  Enter(State::kSending, kWritable);
  Send();
}

void HttpConnection::Enter(State state, FdWatcher::Events wanted) {
  state_ = state;
  since_ = loop_.Now();
  watcher_.Want(wanted);
}

void HttpConnection::SetDeadline() {
  deadline_ = loop_.After(kDeadline, [this] {
    if (state_ == State::kLingering) DiscardUnsent();
    listener_.OnEnd(id_);
  });
}

// close() then resets the connection. Otherwise the kernel would try to send the rest.
void HttpConnection::DiscardUnsent() {
  const linger discard{.l_onoff = 1, .l_linger = 0};
  setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &discard, sizeof discard);
}

void HttpConnection::OnReady() {
  switch (state_) {
    case State::kReceiving:
      Receive();
      break;
    case State::kSending:
      Send();
      break;
    case State::kLingering:
      Linger();
      break;
    case State::kWaiting:  // not watched
      break;
  }
}

void HttpConnection::Receive() {
  std::array<char, kMaxRequestHead> buffer;
  const ssize_t size = recv(fd_.get(), buffer.data(), buffer.size() - received_.size(), 0);
  if (size < 0 && MayRetry()) return;
  if (size <= 0) {
    listener_.OnEnd(id_);
    return;
  }
  received_.append(buffer.data(), static_cast<std::size_t>(size));
  const auto request = ParseRequest(received_);
  if (request) head_only_ = request->head_only;
  if (request && request->status == HttpStatus::kOk) {
    deadline_.Cancel();
    Enter(State::kWaiting, kNothing);
    listener_.OnRequest(id_, request->path);
  } else if (request) {
    Answer(ErrorAnswer(request->status));
  } else if (received_.size() == kMaxRequestHead) {
    Answer(ErrorAnswer(HttpStatus::kHeadTooLarge));
  }
}

void HttpConnection::Send() {
  const ssize_t size =
      send(fd_.get(), answer_.data() + sent_, answer_.size() - sent_, MSG_NOSIGNAL);
  if (size < 0) {
    if (!MayRetry()) listener_.OnEnd(id_);
    return;
  }
  sent_ += static_cast<std::size_t>(size);
  if (sent_ < answer_.size()) return;
  // Closing a socket that has more to receive, such as a body, would reset the connection, and the
  // client might lose the answer.
  shutdown(fd_.get(), SHUT_WR);
  Enter(State::kLingering, kReadable);
}

void HttpConnection::Linger() {
  std::array<char, kMaxRequestHead> buffer;
  const ssize_t size = recv(fd_.get(), buffer.data(), buffer.size(), 0);
  if (size == 0 || (size < 0 && !MayRetry())) listener_.OnEnd(id_);
}

}  // namespace redlock::observe
