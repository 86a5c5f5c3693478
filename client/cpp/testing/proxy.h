// A proxy on 127.0.0.1 before a Unix socket. It can delay, hold back and reset what passes it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace redlock::testing::internal {

class Proxy {
 public:
  // Throws std::system_error.
  explicit Proxy(std::string socket);
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  // These take effect before they return.
  void Delay(std::chrono::nanoseconds delay);
  void Cut();
  void Mend();
  void Reset();

 private:
  using Clock = std::chrono::steady_clock;

  // A direction of a connection.
  struct Pipe {
    int from = -1;
    int to = -1;
    struct Chunk {
      Clock::time_point due;
      std::vector<char> bytes;
    };
    std::deque<Chunk> chunks;
    std::size_t size = 0;  // of all chunks
    bool over = false;     // `from` has nothing more to send
  };
  struct Connection {
    int client = -1;
    int server = -1;
    Pipe up, down;
    bool broken = false;
  };

  void Run();
  void Accept();
  // How long nothing has to be done if nothing arrives.
  [[nodiscard]] int Patience() const;
  void Read(Pipe& pipe, Connection& connection);
  void Write(Pipe& pipe, Connection& connection);
  static void Close(Connection& connection, bool reset);
  void Wake() const;

  const std::string socket_;
  const int listener_;
  const int wake_;  // an eventfd
  std::uint16_t port_ = 0;

  std::mutex mutex_;  // guards the following
  std::list<Connection> connections_;
  std::chrono::nanoseconds delay_{};
  bool cut_ = false;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace redlock::testing::internal
