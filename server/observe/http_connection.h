// One connection to the HTTP server: receives one request, and sends one answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "server/loop/event_loop.h"
#include "server/loop/fd_watcher.h"
#include "server/loop/owned_fd.h"
#include "server/observe/http_message.h"

namespace redlock::observe {

// Strand-confined. The client has 5 s for its whole request and, after that, 5 s to receive the
// whole answer, however slowly or steadily it sends and receives.
class HttpConnection {
 public:
  // In the order in which connections are closed to make way for new ones.
  enum class State {
    kLingering,  // the answer has been sent; waits until the client hangs up
    kReceiving,
    kSending,
    kWaiting,  // for Answer()
  };

  class Listener {
   public:
    virtual ~Listener() = default;
    // Must be answered with Answer(), after this call.
    virtual void OnRequest(std::uint64_t id, const std::string& path) = 0;
    // Must destroy the connection. Is not called while it waits for Answer().
    virtual void OnEnd(std::uint64_t id) = 0;
  };

  // `id` is for the listener, which must outlive this. Calls it in Receive() or later.
  HttpConnection(EventLoop& loop, OwnedFd fd, std::uint64_t id, Listener& listener);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  // Receives what has already arrived of the request. May end the connection.
  void Receive();
  // May end the connection.
  void Answer(const HttpAnswer& answer);

  [[nodiscard]] State state() const { return state_; }
  // Of two connections, the one with the lower rank is closed first.
  [[nodiscard]] std::pair<State, MonotonicTime> rank() const { return {state_, since_}; }

 private:
  void Enter(State state, FdWatcher::Events wanted);
  void SetDeadline();
  void DiscardUnsent();
  void OnReady();
  void Send();
  void Linger();

  EventLoop& loop_;
  const OwnedFd fd_;
  const std::uint64_t id_;
  Listener& listener_;
  FdWatcher watcher_;
  TimerHandle deadline_;
  State state_ = State::kReceiving;
  MonotonicTime since_;  // when it entered the state
  std::string received_;
  bool head_only_ = false;
  std::string answer_;
  std::size_t sent_ = 0;  // bytes of answer_
};

}  // namespace redlock::observe
