// A TCP connection whose blocking operations end at a deadline.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <string>

namespace redlock::client {

class TimedSocket {
 public:
  explicit TimedSocket(std::chrono::steady_clock::time_point deadline) : deadline_(deadline) {}
  ~TimedSocket();
  TimedSocket(const TimedSocket&) = delete;
  TimedSocket& operator=(const TimedSocket&) = delete;

  // Connects to an address in numbers: "127.0.0.1:50051" or "[::1]:50051". Call once. Each function
  // returns false if it fails or the deadline passes.
  [[nodiscard]] bool Connect(const std::string& address);
  // Sends everything. Raises no SIGPIPE.
  [[nodiscard]] bool Send(const char* data, std::size_t size);
  // Returns the number of bytes received; 0 or less: no more will come.
  [[nodiscard]] ssize_t Receive(char* data, std::size_t size);

 private:
  [[nodiscard]] bool Await(short event) const;

  const std::chrono::steady_clock::time_point deadline_;
  int fd_ = -1;
};

}  // namespace redlock::client
