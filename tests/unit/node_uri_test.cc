// Addresses of nodes: what is accepted and rejected, and that no message shows a password.
#include "server/config/node_uri.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "server/config/config.h"
#include "tests/support/process.h"
#include "tests/unit/command_line.h"

namespace redlock::config {
namespace {

std::string Refusal(const std::string& uri, std::size_t number = 1) {
  try {
    (void)ParseNodeUri(uri, number);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "(accepted)";
}

TEST(NodeUri, AcceptsEveryForm) {
  redis::Endpoint endpoint = ParseNodeUri("redis://us%40er:p%3Ass@example.org:7000/5");
  EXPECT_EQ(endpoint.kind, redis::Endpoint::Kind::kTcp);
  EXPECT_EQ(endpoint.user, "us@er");
  EXPECT_EQ(endpoint.password, "p:ss");
  EXPECT_EQ(endpoint.Name(), "example.org:7000");
  EXPECT_EQ(endpoint.database, 5);

  endpoint = ParseNodeUri("rediss://:secret@[::1]");
  EXPECT_EQ(endpoint.kind, redis::Endpoint::Kind::kTls);
  EXPECT_EQ(endpoint.user, "");
  EXPECT_EQ(endpoint.password, "secret");
  EXPECT_EQ(endpoint.Name(), "[::1]:6379");

  endpoint = ParseNodeUri("unix:///run/redis.sock?database=2");
  EXPECT_EQ(endpoint.kind, redis::Endpoint::Kind::kUnix);
  EXPECT_EQ(endpoint.path, "/run/redis.sock");
  EXPECT_EQ(endpoint.database, 2);
}

TEST(NodeUri, ReadsThePasswordFromAFile) {
  const testing::TemporaryDirectory directory;
  std::ofstream(directory.path() + "/pw") << "hidden\n";
  const auto endpoint = ParseNodeUri("redis://u@h?password_file=" + directory.path() + "/pw");
  EXPECT_EQ(endpoint.password_file->Password(), "hidden");
  EXPECT_EQ(endpoint.user, "u");
  const auto over_socket =
      ParseNodeUri("unix:///s?user=u&password_file=" + directory.path() + "/pw");
  EXPECT_EQ(over_socket.user, "u");
}

TEST(NodeUri, AcceptsAPasswordFileFromWindows) {
  const testing::TemporaryDirectory directory;
  const std::string path = directory.path() + "/pw";
  std::ofstream(path) << "hidden\r\nnext line\r\n";
  EXPECT_EQ(ParseNodeUri("redis://h?password_file=" + path).password_file->Password(), "hidden");
  std::ofstream(path) << "\r\n";
  EXPECT_CONTAINS(Refusal("redis://h?password_file=" + path), path);
}

// Without a password, redlockd would log in as the default user, with its permissions.
TEST(NodeUri, AUserWithoutAPasswordIsRefused) {
  for (const char* const uri :
       {"redis://u@h", "rediss://u@h:1/2", "redis://@h", "unix:///s?user=u"}) {
    EXPECT_CONTAINS(Refusal(uri), "a password is missing") << uri;
  }
  for (const char* const uri : {"redis://u:@h", "redis://:@h"}) {
    EXPECT_CONTAINS(Refusal(uri), "the password is empty") << uri;
  }
}

TEST(NodeUri, TwoPasswordsAreRefused) {
  const testing::TemporaryDirectory directory;
  std::ofstream(directory.path() + "/pw") << "hidden\n";
  EXPECT_CONTAINS(Refusal("redis://u:p@h?password_file=" + directory.path() + "/pw"),
                  "two passwords");
}

TEST(NodeUri, IsShownWithoutThePassword) {
  EXPECT_EQ(WithoutPassword("redis://u:p:x@y@h:1/2"), "redis://u:***@h:1/2");
  EXPECT_EQ(WithoutPassword("rediss://:p@h"), "rediss://:***@h");
  EXPECT_EQ(WithoutPassword("redis://u@h?password_file=/f"), "redis://u@h?password_file=/f");
  EXPECT_EQ(WithoutPassword("redis://h:1"), "redis://h:1");
  EXPECT_EQ(WithoutPassword("unix:///a@b:c"), "unix:///a@b:c");
}

TEST(NodeUri, NoErrorShowsAPassword) {
  for (const char* const uri : {"u:Secret@h",
                                ":Secret@h",
                                "redis:/u:Secret@h",
                                "redis//u:Secret@h",
                                "redis://u:Secret",
                                "redis://u:1?Secret@h:1",
                                "redis://u:1&x?Secret=@h:1",
                                "redis://u:1?x@Secret@h:1",
                                "http://u:Secret@h",
                                "redis://u:Secret@h:1:1",
                                "redis://u:Secret@h:99999",
                                "redis://u:%zzSecret@h",
                                "redis://u@h?password=Secret",
                                "redis://u:p@h?Secret",
                                "unix:///s?user=u&password=Secret",
                                "unix://u:Secret@/s",
                                "redis://h/Secret",
                                "redis://h:1/0/Secret",
                                "redis://u:p@[Secret]",
                                "redis://u:a/Secret",
                                "redis://u:a b@Sec ret",
                                "redis://h?password_file=Secret",
                                "redis://u:Secret@",
                                "Secret"}) {
    const std::string message = Refusal(uri);
    EXPECT_CONTAINS(message, "--node #1") << uri;
    EXPECT_EQ(message.find("Sec"), std::string::npos) << uri << ": " << message;
  }
}

TEST(NodeUri, ErrorsNameTheProblem) {
  EXPECT_CONTAINS(Refusal("http://a"), "scheme must be");
  EXPECT_CONTAINS(Refusal("localhost:6379"), "scheme must be");
  EXPECT_CONTAINS(Refusal("redis://"), "host is missing");
  EXPECT_CONTAINS(Refusal("redis://a:0"), "port must be");
  EXPECT_CONTAINS(Refusal("redis://a:99999"), "port must be");
  EXPECT_CONTAINS(Refusal("redis://a:12x"), "port must be");
  EXPECT_CONTAINS(Refusal("redis://::1"), "in [ ]");
  EXPECT_CONTAINS(Refusal("redis://[::1"), "end with ]");
  EXPECT_CONTAINS(Refusal("redis://a/x"), "database must be");
  EXPECT_CONTAINS(Refusal("redis://a/-1"), "database must be");
  EXPECT_CONTAINS(Refusal("redis://a?foo=1"), "unknown parameter");
  EXPECT_CONTAINS(Refusal("redis://a%4@b"), "hexadecimal");
  EXPECT_CONTAINS(Refusal("unix://relative"), "absolute");
  EXPECT_CONTAINS(Refusal("redis://a?password_file=/nowhere"), "/nowhere");
  EXPECT_CONTAINS(Refusal("redis://[h]"), "only an IPv6 address");
  EXPECT_CONTAINS(Refusal("redis://a b"), "name or an IP address");
  EXPECT_CONTAINS(Refusal("redis://a", 7), "(accepted)");
  EXPECT_CONTAINS(Refusal("redis://a:0", 7), "--node #7 (a): ");
}

}  // namespace
}  // namespace redlock::config
