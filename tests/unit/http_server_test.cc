#include "server/observe/http_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/loop/listen.h"

namespace redlock::observe {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 20s;
const std::string kLarge(std::size_t{1} << 20U, 'x');  // more than the sockets' buffers

// A client's connection.
class Client {
 public:
  explicit Client(const sockaddr_in& server) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int buffer = 4096;
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    const timeval patience{.tv_sec = std::chrono::seconds(kPatience).count(), .tv_usec = 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    EXPECT_EQ(connect(fd_.get(), reinterpret_cast<const sockaddr*>(&server), sizeof server), 0);
  }

  // Returns whether all was sent.
  bool Send(const std::string& text) {
    return send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(text.size());
  }
  Client& Get(const std::string& path) {
    EXPECT_TRUE(Send("GET " + path + " HTTP/1.0\r\n\r\n"));
    return *this;
  }
  // Everything that the server sends until it ends the connection.
  std::string Receive() {
    std::string received;
    std::array<char, 65536> buffer;
    while (true) {
      const ssize_t size = recv(fd_.get(), buffer.data(), buffer.size(), 0);
      if (size == 0) return received;
      if (size < 0) return "failed: " + std::string(strerror(errno));
      received.append(buffer.data(), static_cast<std::size_t>(size));
    }
  }
  // Whether the server has ended the connection, by now or within `patience`.
  bool IsEnded(std::chrono::milliseconds patience = {}) {
    pollfd events{.fd = fd_.get(), .events = POLLRDHUP, .revents = 0};
    return poll(&events, 1, static_cast<int>(patience.count())) == 1;
  }

 private:
  OwnedFd fd_;
};

// Answers /small and /large at once, and other paths when Release() is called.
class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() {
    std::vector<OwnedFd> sockets = Listen("127.0.0.1", 0);
    socklen_t size = sizeof address_;
    getsockname(sockets.front().get(), reinterpret_cast<sockaddr*>(&address_), &size);
    server_.emplace(std::move(sockets), [this](HttpServer::Ticket ticket, const std::string& path) {
      OnRequest(ticket, path);
    });
  }

  std::vector<Client> Connect(std::size_t count) {
    std::vector<Client> clients;
    for (std::size_t i = 0; i < count; ++i) clients.emplace_back(address_);
    return clients;
  }
  std::string Get(const std::string& path) { return Client(address_).Get(path).Receive(); }

  std::size_t waiting() {
    const std::lock_guard lock(mutex_);
    return tickets_.size();
  }
  void Release() {
    const std::lock_guard lock(mutex_);
    for (const auto ticket : std::exchange(tickets_, {})) server_->Answer(ticket, small_);
  }

 private:
  void OnRequest(HttpServer::Ticket ticket, const std::string& path) {
    if (path == "/small") {
      server_->Answer(ticket, small_);
    } else if (path == "/large") {
      server_->Answer(ticket, large_);
    } else {
      const std::lock_guard lock(mutex_);
      tickets_.push_back(ticket);
    }
  }

  const std::shared_ptr<const HttpAnswer> small_ =
      std::make_shared<HttpAnswer>(HttpAnswer{.body = "small"});
  const std::shared_ptr<const HttpAnswer> large_ =
      std::make_shared<HttpAnswer>(HttpAnswer{.body = kLarge});
  sockaddr_in address_{};
  std::mutex mutex_;
  std::vector<HttpServer::Ticket> tickets_;
  std::optional<HttpServer> server_;
};

TEST_F(HttpServerTest, SendsAnAnswerThatIsLargerThanTheSocketsBuffers) {
  const std::string answer = Get("/large");
  EXPECT_TRUE(answer.ends_with("\r\n\r\n" + kLarge)) << answer.substr(0, 200);
}

TEST_F(HttpServerTest, AnswersBesideClientsThatDoNotReceive) {
  std::vector<Client> clients = Connect(HttpServer::kMaxConnections + 10);
  for (Client& client : clients) client.Send("GET /large HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(Get("/small").ends_with("small"));
}

TEST_F(HttpServerTest, ClosesTheConnectionThatHasBeenIdleLongest) {
  std::vector<Client> clients = Connect(HttpServer::kMaxConnections);
  clients[1].Send("GET /sm");
  EXPECT_TRUE(Get("/small").ends_with("small"));
  EXPECT_TRUE(clients[0].IsEnded());
  EXPECT_FALSE(clients[1].IsEnded());
  EXPECT_FALSE(clients.back().IsEnded());
  clients[1].Send("all HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(clients[1].Receive().ends_with("small"));
}

TEST_F(HttpServerTest, KeepsRequestsThatWaitForTheirAnswers) {
  std::vector<Client> clients = Connect(HttpServer::kMaxConnections);
  for (Client& client : clients) client.Get("/later");
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  while (waiting() < HttpServer::kMaxConnections && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(1ms);
  }
  Client next = std::move(Connect(1).front().Get("/later"));  // stays in the kernel's queue
  std::this_thread::sleep_for(100ms);
  EXPECT_EQ(waiting(), HttpServer::kMaxConnections);
  for (Client& client : clients) EXPECT_FALSE(client.IsEnded());
  std::jthread answers([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      Release();
      std::this_thread::sleep_for(1ms);
    }
  });
  clients.push_back(std::move(next));
  for (Client& client : clients) EXPECT_TRUE(client.Receive().ends_with("small"));
}

TEST_F(HttpServerTest, AClientThatSendsABodyReceivesTheAnswer) {
  Client client = std::move(Connect(1).front());
  EXPECT_TRUE(client.Send("POST / HTTP/1.1\r\nHost: a\r\n\r\n" + kLarge));
  EXPECT_TRUE(client.Receive().starts_with("HTTP/1.1 405 "));
  Client talkative = std::move(Connect(1).front());
  EXPECT_TRUE(talkative.Send("GET / HTTP/1.1\r\nX: " + kLarge));
  EXPECT_TRUE(talkative.Receive().starts_with("HTTP/1.1 431 "));
}

TEST_F(HttpServerTest, EndsConnectionsAtADeadline) {
  std::vector<Client> clients = Connect(3);
  Client& idle = clients[0];
  Client& slow = clients[1];
  Client& deaf = clients[2].Get("/large");
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  slow.Send("GET / HTTP/1.1\r\nX: ");
  while (!slow.IsEnded(50ms) && std::chrono::steady_clock::now() < give_up) slow.Send("x");
  EXPECT_TRUE(slow.IsEnded());
  EXPECT_TRUE(idle.IsEnded(kPatience));
  EXPECT_TRUE(deaf.IsEnded(kPatience));
}

TEST(Listen, RefusesAnAddressOfAnotherMachine) {
  EXPECT_THROW((void)Listen("192.0.2.1", 0), std::runtime_error);
}

}  // namespace
}  // namespace redlock::observe
