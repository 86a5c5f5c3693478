// Connections to a node and their failures: log-in, TLS, network faults.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/redis/node_fixture.h"

namespace redlock::redis {
namespace {

TEST_F(NodeTest, AServerThatDiesJustBeforeAWriteIsDetectedAtOnce) {
  RedisServer server;
  options.node_timeout = seconds(5);  // must not pass before the server has died
  OpenReady(Tcp(server));
  // The server dies with unread input, which resets the connection: the next write fails.
  server.Pause();
  const auto first = std::make_shared<Recorder>();
  DoOnStrand([&] { node->Inspect({Key("k")}, first); });
  server.Kill();
  const NodeReply reply = Ask([&](auto sink) { node->Inspect({Key("k")}, sink); });
  EXPECT_EQ(reply.outcome, Outcome::kError);
  EXPECT_EQ(reply.message.find("no answer"), std::string::npos) << reply.message;
}

TEST_F(NodeTest, CallsToADownNodeFailAtOnceAndTheNodeReconnects) {
  RedisServer server;
  OpenReady(Tcp(server));
  server.Kill();
  ASSERT_TRUE(RunUntil([&] { return !node->ready(); }));
  const MonotonicTime start = loop.Now();
  const NodeReply reply = Acquire("k", "mine", 1);
  EXPECT_EQ(reply.outcome, Outcome::kError);
  EXPECT_NE(reply.message.find("not connected"), std::string::npos) << reply.message;
  EXPECT_LT(loop.Now() - start, milliseconds(500));  // far below any timeout
  server.Start();
  ASSERT_TRUE(RunUntil([&] { return node->ready(); }));
  EXPECT_EQ(Acquire("k", "mine", 1).outcome, Outcome::kGranted);
}

TEST_F(NodeTest, CallsToASilentNodeAreRefusedWhileItIsSilent) {
  RedisServer server;
  OpenReady(Tcp(server));
  server.Pause();
  const auto pending = std::make_shared<Recorder>();
  DoOnStrand([&] { node->Inspect({Key("k")}, pending); });
  Run(milliseconds(80));  // longer than node_timeout
  const NodeReply refused = Acquire("k", "mine", 1);
  EXPECT_EQ(refused.outcome, Outcome::kError);
  EXPECT_NE(refused.message.find("no answer for"), std::string::npos) << refused.message;
  server.Resume();
  ASSERT_TRUE(RunUntil([&] { return !pending->replies.empty(); }));
  EXPECT_EQ(pending->replies[0].outcome, Outcome::kNotHeld);
  EXPECT_EQ(Acquire("k", "mine", 1).outcome, Outcome::kGranted);
}

TEST_F(NodeTest, LongSilenceEndsTheConnectionAndFailsPendingCalls) {
  RedisServer server;
  OpenReady(Tcp(server));
  server.Pause();
  const auto pending = std::make_shared<Recorder>();
  DoOnStrand([&] { node->Inspect({Key("k")}, pending); });
  ASSERT_TRUE(RunUntil([&] { return !pending->replies.empty(); }));
  EXPECT_EQ(pending->replies[0].outcome, Outcome::kError);
  EXPECT_FALSE(node->ready());
  server.Resume();
  ASSERT_TRUE(RunUntil([&] { return node->ready(); }));
}

TEST_F(NodeTest, LogsInWithUserPasswordAndDatabase) {
  RedisServer server(
      {"--requirepass", "s3cret", "--user", "locker", "on", ">pass", "~*", "&*", "+@all"});
  Endpoint endpoint = Tcp(server);
  endpoint.user = "locker";
  endpoint.password = "pass";
  endpoint.database = 3;
  OpenReady(endpoint);
  EXPECT_EQ(Acquire("k", "mine", 1).outcome, Outcome::kGranted);
  EXPECT_EQ(server.Cli("--user locker --pass pass --no-auth-warning -n 3 GET k"), "mine");

  Endpoint default_user = Tcp(server);
  default_user.password = "s3cret";
  OpenReady(default_user);
}

TEST_F(NodeTest, AWrongPasswordIsReportedButNotShown) {
  RedisServer server({"--requirepass", "s3cret"});
  Endpoint endpoint = Tcp(server);
  endpoint.password = "wr0ng";
  Open(endpoint);
  ASSERT_TRUE(RunUntil([&] { return !down_because.empty(); }));
  EXPECT_NE(down_because.find("WRONGPASS"), std::string::npos) << down_because;
  EXPECT_EQ(down_because.find("wr0ng"), std::string::npos);
  EXPECT_FALSE(node->ready());
}

TEST_F(NodeTest, ConnectsToAUnixSocketAndToAHostName) {
  RedisServer server;
  OpenReady({.kind = Endpoint::Kind::kUnix, .path = server.socket()});
  EXPECT_EQ(Acquire("k", "mine", 1).outcome, Outcome::kGranted);
  Endpoint by_name = Tcp(server);
  by_name.host = "localhost";
  OpenReady(by_name);
}

// Returns the port, which was free.
std::uint16_t ListenOnLoopback(int socket, int backlog) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(bind(socket, raw, size), 0);
  EXPECT_EQ(listen(socket, backlog), 0);
  EXPECT_EQ(getsockname(socket, raw, &size), 0);
  return ntohs(address.sin_port);
}

// A server that does not speak Redis: sends one reply to the first client that connects.
class HostileServer {
 public:
  explicit HostileServer(std::string reply) : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    port_ = ListenOnLoopback(listener_, 1);
    thread_ = std::thread([this, reply = std::move(reply)] {
      peer_ = accept(listener_, nullptr, nullptr);
      EXPECT_GT(send(peer_, reply.data(), reply.size(), MSG_NOSIGNAL), 0);
    });
  }
  ~HostileServer() {
    thread_.join();
    close(peer_);
    close(listener_);
  }
  HostileServer(const HostileServer&) = delete;
  HostileServer& operator=(const HostileServer&) = delete;
  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  const int listener_;
  int peer_ = -1;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

TEST_F(NodeTest, HostileRepliesOnlyEndTheConnection) {
  for (const char* const reply : {"*100000000\r\n", "$-7\r\n", "hello\r\n",
                                  "+OK\r\n+OK\r\n+OK\r\n+OK\r\n"
                                  "+OK\r\n+OK\r\n+OK\r\n"}) {
    HostileServer server(reply);
    down_because.clear();
    Open({.kind = Endpoint::Kind::kTcp, .host = "127.0.0.1", .port = server.port()});
    EXPECT_TRUE(RunUntil([&] { return !down_because.empty(); })) << reply;
    EXPECT_FALSE(node->ready());
    node.reset();
  }
}

// A server that completes the log-in and hangs up, again and again.
class HangingUpServer {
 public:
  HangingUpServer() : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    port_ = ListenOnLoopback(listener_, 64);
    thread_ = std::thread([this] {
      while (true) {
        const int peer = accept(listener_, nullptr, nullptr);
        if (peer < 0) return;
        ++connections_;
        std::array<char, 65536> ignored;
        (void)recv(peer, ignored.data(), ignored.size(), 0);
        // To INFO and SCRIPT LOAD. An error to the first one does not end this log-in.
        constexpr std::string_view kReplies = "-ERR no INFO here\r\n$4\r\nhash\r\n";
        (void)send(peer, kReplies.data(), kReplies.size(), MSG_NOSIGNAL);
        shutdown(peer, SHUT_WR);
        while (recv(peer, ignored.data(), ignored.size(), 0) > 0) {
        }
        close(peer);
      }
    });
  }
  ~HangingUpServer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  HangingUpServer(const HangingUpServer&) = delete;
  HangingUpServer& operator=(const HangingUpServer&) = delete;
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] int connections() const { return connections_; }

 private:
  const int listener_;
  std::uint16_t port_ = 0;
  std::atomic<int> connections_ = 0;
  std::thread thread_;
};

TEST_F(NodeTest, ANodeThatHangsUpAfterEachLogInIsReconnectedEverMoreSlowly) {
  HangingUpServer server;
  Open({.kind = Endpoint::Kind::kTcp, .host = "127.0.0.1", .port = server.port()});
  ASSERT_TRUE(RunUntil([&] { return server.connections() > 3; }));
  Run(seconds(1));
  // Pauses of 10, 20, 40, ... 500 ms. Without them, there would be about a hundred connections.
  EXPECT_LT(server.connections(), 12);
  EXPECT_EQ(reports, 2) << "connected, and not connected: once each";
  node.reset();
}

TEST_F(NodeTest, ASubscriberReconnectsEverMoreSlowlyToo) {
  HangingUpServer server;
  Subscriber subscriber(
      loop, 0, {.kind = Endpoint::Kind::kTcp, .host = "127.0.0.1", .port = server.port()}, nullptr);
  DoOnStrand([&] { subscriber.Subscribe(Topic::kReleases, Key("k")); });
  ASSERT_TRUE(RunUntil([&] { return server.connections() > 2; }));
  DoOnStrand([&] {
    for (int i = 0; i < 20; ++i) subscriber.Subscribe(Topic::kReleases, Key(std::to_string(i)));
  });
  Run(seconds(1));
  EXPECT_LT(server.connections(), 9);
}

TEST_F(NodeTest, ARotatedPasswordIsUsedByTheNextConnection) {
  RedisServer server({"--requirepass", "first"});
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/password";
  const auto write = [&](const std::string& content) { std::ofstream(path) << content; };
  write("first\n");
  Endpoint endpoint = Tcp(server);
  endpoint.password_file = std::make_shared<secrets::PasswordFile>(path);
  OpenReady(endpoint);
  const auto end_connections = [&](const std::string& password) {
    (void)server.Cli("--pass " + password +
                     " --no-auth-warning CLIENT KILL TYPE normal SKIPME yes");
    EXPECT_TRUE(RunUntil([&] { return !node->ready(); }));
  };
  (void)server.Cli("--pass first --no-auth-warning CONFIG SET requirepass second");
  end_connections("second");
  ASSERT_TRUE(RunUntil(
      [&] { return Acquire("k", "mine", 1).message.find("WRONGPASS") != std::string::npos; }));
  write("");  // being replaced
  Run(milliseconds(50));
  EXPECT_FALSE(node->ready());
  write("second\r\n");
  EXPECT_TRUE(RunUntil([&] { return node->ready(); }));

  write("");
  end_connections("second");
  EXPECT_TRUE(RunUntil([&] { return node->ready(); })) << "the last password is kept";
}

// Certificates of a throw-away CA, made with the openssl command.
class TlsTest : public NodeTest {
 protected:
  void SetUp() override {
    const std::string& dir = directory.path();
    const std::string make =
        "cd " + dir +
        " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=ca -keyout ca.key -out "
        "ca.crt"
        " && for n in server client; do"
        " openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=$n -keyout "
        "$n.key -out $n.csr"
        " && printf 'subjectAltName=DNS:localhost' > ext"
        " && openssl x509 -req -in $n.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2"
        " -extfile ext -out $n.crt || exit 1; done";
    ASSERT_EQ(std::system(("(" + make + ") >/dev/null 2>&1").c_str()), 0);
    tls_port = testing::FreePort();
    server.emplace(std::vector<std::string>{
        "--tls-port", std::to_string(tls_port), "--tls-cert-file", dir + "/server.crt",
        "--tls-key-file", dir + "/server.key", "--tls-ca-cert-file", dir + "/ca.crt"});
    options = {.ca_file = dir + "/ca.crt",
               .cert_file = dir + "/client.crt",
               .key_file = dir + "/client.key"};
  }
  Endpoint Tls(const std::string& host) const {
    return {.kind = Endpoint::Kind::kTls, .host = host, .port = tls_port};
  }

  TemporaryDirectory directory;
  std::uint16_t tls_port = 0;
  std::optional<RedisServer> server;
  TlsOptions options;
};

TEST_F(TlsTest, ConnectsWithAClientCertificate) {
  OpenReady(Tls("localhost"), &options);
  EXPECT_EQ(Acquire("k", "mine", 1).outcome, Outcome::kGranted);
}

TEST_F(TlsTest, ARenewedContextIsUsedByTheNextConnection) {
  const auto tls = std::make_shared<NodeTls>(options);
  const TlsContext before = tls->context();
  EXPECT_EQ(tls->files().Reload(), secrets::Renewal::kNone);
  EXPECT_EQ(tls->context(), before);
  ASSERT_EQ(std::system(("cd " + directory.path() +
                         " && cat ca.crt server.crt > both.crt && "
                         "mv both.crt ca.crt")
                            .c_str()),
            0);
  EXPECT_EQ(tls->files().Reload(), secrets::Renewal::kRenewed);
  EXPECT_NE(tls->context(), before);
}

TEST_F(TlsTest, RefusesANameThatIsNotInTheCertificate) {
  Open(Tls("127.0.0.1"), &options);
  ASSERT_TRUE(RunUntil([&] { return !down_because.empty(); }));
  EXPECT_NE(down_because.find("certificate"), std::string::npos) << down_because;
  EXPECT_FALSE(node->ready());
}

TEST_F(TlsTest, RefusesAnUnknownCa) {
  options.ca_file = options.cert_file;  // a certificate that is not the CA's
  Open(Tls("localhost"), &options);
  ASSERT_TRUE(RunUntil([&] { return !down_because.empty(); }));
  EXPECT_FALSE(node->ready());
}

TEST_F(TlsTest, AMissingFileIsReportedByName) {
  options.ca_file = "/nowhere/ca.crt";
  try {
    const NodeTls tls(options);
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("/nowhere/ca.crt"), std::string::npos);
  }
}

}  // namespace
}  // namespace redlock::redis
