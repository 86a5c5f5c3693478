// Connecting: the words for gRPC's texts, the parts of addresses, and the bearer token.
#include <gtest/gtest.h>

#include <fstream>
#include <stdexcept>

#include "client/cpp/core/endpoint.h"
#include "client/cpp/src/bearer_token.h"
#include "client/cpp/src/connect_failure.h"
#include "redlock/client.h"
#include "tests/support/process.h"

namespace redlock::client {
namespace {

using redlock::testing::TemporaryDirectory;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kPrefix = "failed to connect to all addresses; last error: ";

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// The texts are those of gRPC 1.51 with OpenSSL 3.0.
TEST(ConnectFailure, EveryCauseHasItsWords) {
  struct Case {
    const char* text;
    bool tls;
    const char* words;
    bool probe = false;
  };
  const Case cases[] = {
      {"UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused", false,
       "was refused"},
      {"UNKNOWN: ipv4:10.0.0.1:1: tcp handshaker shutdown", false, "no answer within 2 s"},
      {"UNKNOWN: ipv4:127.0.0.1:1: connection attempt timed out before receiving SETTINGS frame",
       false, "no answer within 2 s"},
      {"UNKNOWN: ipv4:127.0.0.1:1: Handshake read failed", true, "no answer to the TLS handshake"},
      {"UNKNOWN: ipv4:127.0.0.1:1: Ssl handshake failed: SSL_ERROR_SSL: error:0A00010B:SSL "
       "routines::wrong version number",
       true, "the server does not speak TLS"},
      {"UNKNOWN: ipv4:127.0.0.1:1: Ssl handshake failed: SSL_ERROR_SSL: error:0A000086:SSL "
       "routines::certificate verify failed",
       true, "expired", true},
      {"UNKNOWN: ipv4:127.0.0.1:1: Ssl handshake failed: SSL_ERROR_SSL: error:0A000410:SSL "
       "routines::sslv3 alert handshake failure",
       true, "needs a client certificate", true},
      {"UNKNOWN: ipv4:127.0.0.1:1: Peer name 127.0.0.1 is not in peer certificate", true,
       "is not valid for this name"},
      {"UNAVAILABLE: ipv4:127.0.0.1:1: Endpoint read failed", true, "client certificate", true},
      {"UNAVAILABLE: ipv4:127.0.0.1:1: recvmsg:Connection reset by peer", false, "closed", true},
      {"UNAVAILABLE: ipv4:127.0.0.1:1: Socket closed", false, "closed", true},
      {"INTERNAL: ipv4:127.0.0.1:1: Trying to connect an http1.x server", false, "HTTP/1"},
      {"UNAVAILABLE: ipv4:127.0.0.1:1: Failed parsing HTTP/2", false, "not a redlockd", true},
      {"UNKNOWN: unix:/none: No such file or directory", false, "does not exist"},
      {"UNKNOWN: unix:/none: Permission denied", false, "permission"},
      {"UNKNOWN: a text of another version", false, "the connection failed"},
  };
  for (const Case& each : cases) {
    const auto failure = Translate(std::string(kPrefix) + each.text, each.tls, seconds(2));
    EXPECT_TRUE(Contains(failure.words, each.words)) << each.text << " -> " << failure.words;
    EXPECT_EQ(failure.probe, each.probe) << each.text;
  }
  EXPECT_TRUE(Contains(Translate("DNS resolution failed for nowhere:1: C-ares status is not "
                                 "ARES_SUCCESS qtype=A name=nowhere: Domain name not found",
                                 false, seconds(2))
                           .words,
                       "does not resolve"));
}

TEST(Endpoint, WhatIsNoAddressWithAPortIsRefused) {
  for (const std::string wrong : {"", "locks", "[::1]", "http://locks:50051", "https://locks",
                                  "locks:", "locks:0", "[::1]:65536"}) {
    const auto error = CheckEndpoint(wrong);
    ASSERT_TRUE(error) << wrong;
    EXPECT_NE(error->message.find(wrong), std::string::npos) << error->message;
  }
  for (const std::string right : {"locks:50051", "127.0.0.1:1", "[::1]:50051", "ipv6:[::1]:50051",
                                  "dns:///locks:50051", "unix:/run/x", "unix:///run/x:y"}) {
    EXPECT_FALSE(CheckEndpoint(right)) << right;
  }
}

TEST(ConnectFailure, WhatADaemonOrABrokenStreamReportsIsLeftAsItIs) {
  for (const char* const text : {"Socket closed", "the daemon is draining: Connection refused"}) {
    EXPECT_EQ(Translate(text, false, seconds(2)).words, "");
  }
}

TEST(ConnectFailure, TheAddressIsFoundInTheText) {
  EXPECT_EQ(AddressIn("last error: UNKNOWN: ipv4:127.0.0.1:50051: Connection refused"),
            "127.0.0.1:50051");
  EXPECT_EQ(AddressIn("last error: UNKNOWN: ipv6:%5B::1%5D:50051: Connection refused"),
            "[::1]:50051");
  EXPECT_EQ(AddressIn("last error: UNKNOWN: unix:/socket: Connection refused"), "");
}

TEST(Endpoint, OnlyNamesMayHaveSeveralAddresses) {
  for (const char* const name : {"locks", "locks:50051", "dns:locks:1", "dns:///locks:1"}) {
    EXPECT_EQ(HostName(name), "locks") << name;
  }
  for (const char* const address : {"10.0.0.1", "10.0.0.1:1", "[::1]:1", "::1", "ipv4:10.0.0.1:1",
                                    "ipv6:[::1]:1", "unix:/tmp/a:b", "unix-abstract:locks"}) {
    EXPECT_EQ(HostName(address), "") << address;
  }
}

class TokenFile : public ::testing::Test {
 protected:
  void Write(const std::string& text) const { std::ofstream(path) << text; }

  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/token";
};

TEST_F(TokenFile, IsRefusedIfAnHttpHeaderCannotCarryIt) {
  Write(" \n secret-token \r\n");
  EXPECT_EQ(ReadBearerToken(path), "secret-token");
  for (const char* const bad : {"", "\n", "two\nlines", "two words", "caf\xc3\xa9", "a\x01z"}) {
    Write(bad);
    try {
      (void)ReadBearerToken(path);
      ADD_FAILURE() << bad;
    } catch (const std::invalid_argument& error) {
      EXPECT_TRUE(Contains(error.what(), path)) << error.what();
      EXPECT_FALSE(Contains(error.what(), "two")) << "no part of a secret: " << error.what();
    }
    EXPECT_THROW(Client({.token_file = path}), std::invalid_argument);
  }
}

TEST_F(TokenFile, KeepsTheLastTokenWhileTheFileIsUnusable) {
  Write("first");
  BearerToken token(path);
  Write("second");
  token.Renew();
  EXPECT_EQ(token.value(), "second");
  Write("a\nb");
  token.Renew();
  EXPECT_EQ(token.value(), "second");
  EXPECT_TRUE(Contains(token.problem(), path));
  Write("third");
  token.Renew();
  EXPECT_EQ(token.value(), "third");
  EXPECT_EQ(token.problem(), "");
}

TEST(Options, TimesOutOfRangeAreRefused) {
  for (const Duration time : {Duration(-1), Duration(0), Duration(milliseconds(9)),
                              Duration(hours(25)), Duration::max()}) {
    EXPECT_THROW(Client({.connect_timeout = time}), std::invalid_argument);
    EXPECT_THROW(Client({.keepalive_time = time}), std::invalid_argument);
    EXPECT_THROW(Client({.keepalive_timeout = time}), std::invalid_argument);
  }
  EXPECT_THROW(Client({.certificate_file = "/only-one"}), std::invalid_argument);
}

}  // namespace
}  // namespace redlock::client
