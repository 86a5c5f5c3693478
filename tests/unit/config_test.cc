// Flags, environment and file: what is accepted, what is rejected, and the error messages.
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "server/config/command_line.h"
#include "server/config/node_uri.h"
#include "tests/support/process.h"

namespace redlock::config {
namespace {

using std::chrono::milliseconds;

class CommandLine : public ::testing::Test {
 protected:
  std::optional<Config> Parse(std::vector<std::string> arguments) {
    return ParseCommandLine(
        std::move(arguments),
        [this](const char* name) {
          const auto found = variables.find(name);
          return found == variables.end() ? nullptr : found->second.c_str();
        },
        output);
  }
  // The error message of the rejection.
  std::string Refusal(std::vector<std::string> arguments) {
    try {
      (void)Parse(std::move(arguments));
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "(accepted)";
  }

  std::map<std::string, std::string> variables;
  std::string output;
};

#define EXPECT_CONTAINS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(CommandLine, DefaultsMatchTheContract) {
  const auto config = Parse({"--dev"});
  ASSERT_TRUE(config);
  EXPECT_EQ(config->max_ttl, std::chrono::minutes(5));
  EXPECT_EQ(config->retry.max_retries, -1);
  EXPECT_EQ(config->retry.max_jitter, milliseconds(300));
  EXPECT_EQ(config->lock.release_timeout, std::chrono::seconds(5));
  EXPECT_EQ(config->lock.drift.buffer, milliseconds(2));
}

TEST_F(CommandLine, ANonLoopbackAddressRequiresTlsTokensOrInsecure) {
  EXPECT_CONTAINS(Refusal({"--dev", "--listen", "0.0.0.0:1"}), "--insecure");
  EXPECT_CONTAINS(Refusal({"--dev", "--listen", "10.0.0.1:1", "--listen", "127.0.0.1:2"}),
                  "10.0.0.1:1");
  for (const char* const local : {"127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/s"}) {
    EXPECT_TRUE(Parse({"--dev", "--listen", local})) << local;
  }
  EXPECT_TRUE(Parse({"--dev", "--listen", "0.0.0.0:1", "--insecure"}));
  EXPECT_TRUE(Parse({"--dev", "--listen", "0.0.0.0:1", "--token-file", "t"}));
  EXPECT_TRUE(Parse({"--dev", "--listen", "0.0.0.0:1", "--tls-cert", "c", "--tls-key", "k"}));
}

TEST_F(CommandLine, AFlagReportsWhichOtherFlagItRequires) {
  EXPECT_CONTAINS(Refusal({"--dev", "--tls-cert", "c"}), "--tls-key");
  EXPECT_CONTAINS(Refusal({"--dev", "--tls-client-ca", "c"}), "requires --tls-cert");
  EXPECT_CONTAINS(Refusal({"--dev", "--access-list", "a"}), "--token-file or --tls-client-ca");
  EXPECT_CONTAINS(Refusal({"--dev", "--unix-socket-mode", "rw"}), "0660");
}

TEST_F(CommandLine, TheQuarantineLastsForTheLongestTtl) {
  const auto config = Parse({"--dev", "--max-ttl", "20s"});
  ASSERT_TRUE(config);
  EXPECT_EQ(config->lock.guard.mode, GuardMode::kOn);
  EXPECT_EQ(config->lock.guard.quarantine, std::chrono::seconds(20));
  EXPECT_EQ(Parse({"--dev", "--node-guard", "strict"})->lock.guard.mode, GuardMode::kStrict);
  EXPECT_EQ(Parse({"--dev", "--node-guard", "off"})->lock.guard.mode, GuardMode::kOff);
  EXPECT_CONTAINS(Refusal({"--dev", "--node-guard", "maybe"}), "--node-guard");
}

TEST_F(CommandLine, FlagsOverrideTheEnvironmentWhichOverridesTheFile) {
  const testing::TemporaryDirectory directory;
  const std::string file = directory.path() + "/redlockd.toml";
  std::ofstream(file) << "node = [\"redis://f1\", \"redis://f2\", \"redis://f3\"]\n"
                         "node-timeout = \"70ms\"\nshards = 3\nmax-ttl = \"1m\"\n";
  variables["REDLOCKD_NODE_TIMEOUT"] = "60ms";
  variables["REDLOCKD_SHARDS"] = "2";
  const auto config = Parse({"--config", file, "--node-timeout", "40ms"});
  ASSERT_TRUE(config);
  EXPECT_EQ(config->lock.node_timeout, milliseconds(40));  // flag
  EXPECT_EQ(config->shards, 2U);                           // environment
  EXPECT_EQ(config->max_ttl, std::chrono::minutes(1));     // file
  ASSERT_EQ(config->nodes.size(), 3U);
  EXPECT_EQ(config->nodes[2].host, "f3");
}

TEST_F(CommandLine, EnvironmentListsAreSeparatedByCommas) {
  variables["REDLOCKD_NODE"] = "redis://a,redis://b:7000/2";
  const auto config = Parse({});
  ASSERT_TRUE(config);
  ASSERT_EQ(config->nodes.size(), 2U);
  EXPECT_EQ(config->nodes[1].Name(), "b:7000");
  EXPECT_EQ(config->nodes[1].database, 2);
  EXPECT_EQ(Parse({"--node", "redis://c"})->nodes.size(), 1U);  // a flag replaces the list
}

TEST_F(CommandLine, InvalidValuesAreReported) {
  EXPECT_CONTAINS(Refusal({}), "--node: at least one");
  EXPECT_CONTAINS(Refusal({"--dev", "--node", "redis://a"}), "--dev");
  EXPECT_CONTAINS(Refusal({"--node", "redis://a", "--node", "redis://a:6379"}),
                  "a:6379: given twice");
  EXPECT_CONTAINS(Refusal({"--dev", "--node-timeout", "5"}),
                  "--node-timeout 5: must be a duration");
  EXPECT_CONTAINS(Refusal({"--dev", "--node-timeout", "-5ms"}), "1ms to 10s");
  EXPECT_CONTAINS(Refusal({"--dev", "--node-timeout", "nanms"}), "--node-timeout nanms");
  EXPECT_CONTAINS(Refusal({"--dev", "--max-ttl", "99999h"}), "100ms to 24h");
  EXPECT_CONTAINS(Refusal({"--dev", "--shards", "0"}), "1 to 64");
  EXPECT_CONTAINS(Refusal({"--dev", "--shards", "many"}), "--shards");
  EXPECT_CONTAINS(Refusal({"--dev", "--log-level", "loud"}), "--log-level");
  EXPECT_CONTAINS(Refusal({"--dev", "--listen", "nonsense"}), "--listen nonsense");
  EXPECT_CONTAINS(Refusal({"--dev", "--listen", "unix:relative"}), "--listen unix:relative");
  EXPECT_CONTAINS(Refusal({"--dev", "--no-such-flag"}), "--no-such-flag");
  EXPECT_CONTAINS(Refusal({"--dev", "--config", "/nowhere.toml"}), "/nowhere.toml");
  EXPECT_CONTAINS(Refusal({"--dev", "--max-ttl", "100ms", "--node-timeout", "90ms"}),
                  "--node-timeout");
  EXPECT_CONTAINS(Refusal({"--dev", "--redis-tls-cert", "x"}), "--redis-tls-key");
}

TEST_F(CommandLine, PortsOutOfRangeAreRefused) {
  for (const char* const port : {"65536", "99999", "18446744073709551617"}) {
    const std::string address = std::string("127.0.0.1:") + port;
    EXPECT_CONTAINS(Refusal({"--dev", "--listen", address}),
                    "--listen " + address + ": the port must be");
    EXPECT_CONTAINS(Refusal({"--dev", "--metrics-listen", address}),
                    "--metrics-listen " + address + ": the port must be");
    EXPECT_CONTAINS(Refusal({"--node", "redis://" + address}),
                    "--node redis://" + address + ": the port must be");
  }
  EXPECT_CONTAINS(Refusal({"--dev", "--listen", "[::1]:65536"}), "--listen [::1]:65536");
  EXPECT_CONTAINS(Refusal({"--dev", "--listen", "127.0.0.1:1", "--listen", "127.0.0.1:65536"}),
                  "--listen 127.0.0.1:65536");
  EXPECT_CONTAINS(Refusal({"--dev", "--metrics-listen", "127.0.0.1:0"}), "from 1 to 65535");
  EXPECT_CONTAINS(Refusal({"--node", "redis://127.0.0.1:0"}), "from 1 to 65535");
  EXPECT_CONTAINS(Refusal({"--dev", "--metrics-listen", "9475"}),
                  "--metrics-listen 9475: must be host:port");
  EXPECT_CONTAINS(Refusal({"--dev", "--metrics-listen", "unix:/s"}), "must be host:port");
  variables["REDLOCKD_LISTEN"] = "127.0.0.1:99999";
  EXPECT_CONTAINS(Refusal({"--dev"}), "--listen 127.0.0.1:99999");
}

TEST_F(CommandLine, PortsInRangeAreAccepted) {
  EXPECT_TRUE(Parse({"--dev", "--listen", "127.0.0.1:0"}));  // any free port
  for (const char* const address : {"127.0.0.1:1", "127.0.0.1:65535", "[::1]:65535"}) {
    EXPECT_TRUE(Parse({"--dev", "--listen", address, "--metrics-listen", address})) << address;
  }
}

TEST_F(CommandLine, AnUnknownNameInTheFileIsReported) {
  const testing::TemporaryDirectory directory;
  const std::string file = directory.path() + "/redlockd.toml";
  std::ofstream(file) << "dev = true\nnode-timeuot = \"70ms\"\n";
  EXPECT_CONTAINS(Refusal({"--config", file}), "node-timeuot");
}

TEST_F(CommandLine, HelpAndVersionPrintText) {
  EXPECT_FALSE(Parse({"--help"}));
  EXPECT_CONTAINS(output, "--node");
  EXPECT_CONTAINS(output, "REDLOCKD_NODE_TIMEOUT");
  EXPECT_FALSE(Parse({"--version"}));
  EXPECT_CONTAINS(output, "redlockd ");
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

  endpoint = ParseNodeUri("unix:///run/redis.sock?database=2&user=u");
  EXPECT_EQ(endpoint.kind, redis::Endpoint::Kind::kUnix);
  EXPECT_EQ(endpoint.path, "/run/redis.sock");
  EXPECT_EQ(endpoint.database, 2);
  EXPECT_EQ(endpoint.user, "u");
}

TEST(NodeUri, ReadsThePasswordFromAFile) {
  const testing::TemporaryDirectory directory;
  std::ofstream(directory.path() + "/pw") << "hidden\n";
  const auto endpoint = ParseNodeUri("redis://u@h?password_file=" + directory.path() + "/pw");
  EXPECT_EQ(endpoint.password, "hidden");
}

TEST(NodeUri, ErrorsNameTheProblemAndHideThePassword) {
  const auto refusal = [](const std::string& uri) -> std::string {
    try {
      (void)ParseNodeUri(uri);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "(accepted)";
  };
  EXPECT_CONTAINS(refusal("http://a"), "scheme must be");
  EXPECT_CONTAINS(refusal("localhost:6379"), "scheme must be");
  EXPECT_CONTAINS(refusal("redis://"), "host is missing");
  EXPECT_CONTAINS(refusal("redis://a:0"), "port must be");
  EXPECT_CONTAINS(refusal("redis://a:99999"), "port must be");
  EXPECT_CONTAINS(refusal("redis://a:12x"), "port must be");
  EXPECT_CONTAINS(refusal("redis://::1"), "in [ ]");
  EXPECT_CONTAINS(refusal("redis://[::1"), "end with ]");
  EXPECT_CONTAINS(refusal("redis://a/x"), "database must be");
  EXPECT_CONTAINS(refusal("redis://a/-1"), "database must be");
  EXPECT_CONTAINS(refusal("redis://a?foo=1"), "unknown parameter \"foo\"");
  EXPECT_CONTAINS(refusal("redis://a%4@b"), "hexadecimal");
  EXPECT_CONTAINS(refusal("unix://relative"), "absolute");
  EXPECT_CONTAINS(refusal("redis://a?password_file=/nowhere"), "/nowhere");
  const std::string hidden = refusal("redis://u:topsecret@a:0");
  EXPECT_EQ(hidden.find("topsecret"), std::string::npos) << hidden;
}

}  // namespace
}  // namespace redlock::config
