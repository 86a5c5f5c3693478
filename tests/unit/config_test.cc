// Flags and environment: what is accepted, what is rejected, and the error messages.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/process.h"
#include "tests/unit/command_line.h"

namespace redlock::config {
namespace {

using std::chrono::milliseconds;

TEST_F(CommandLineTest, DefaultsMatchTheContract) {
  const auto config = Parse({"--dev"});
  ASSERT_TRUE(config);
  EXPECT_EQ(config->max_ttl, std::chrono::minutes(5));
  EXPECT_EQ(config->retry.max_retries, -1);
  EXPECT_EQ(config->retry.max_jitter, milliseconds(300));
  EXPECT_EQ(config->lock.release_timeout, std::chrono::seconds(5));
  EXPECT_EQ(config->lock.drift.buffer, milliseconds(2));
}

TEST_F(CommandLineTest, ANonLoopbackAddressRequiresTlsTokensOrInsecure) {
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

TEST_F(CommandLineTest, AFlagReportsWhichOtherFlagItRequires) {
  EXPECT_CONTAINS(Refusal({"--dev", "--tls-cert", "c"}), "--tls-key");
  EXPECT_CONTAINS(Refusal({"--dev", "--tls-client-ca", "c"}), "requires --tls-cert");
  EXPECT_CONTAINS(Refusal({"--dev", "--access-list", "a"}), "--token-file or --tls-client-ca");
  EXPECT_CONTAINS(Refusal({"--dev", "--unix-socket-mode", "rw"}), "0660");
}

TEST_F(CommandLineTest, TheQuarantineLastsForTheLongestTtl) {
  const auto config = Parse({"--dev", "--max-ttl", "20s"});
  ASSERT_TRUE(config);
  EXPECT_EQ(config->lock.guard.mode, GuardMode::kOn);
  EXPECT_EQ(config->lock.guard.quarantine, std::chrono::seconds(20));
  EXPECT_EQ(Parse({"--dev", "--node-guard", "strict"})->lock.guard.mode, GuardMode::kStrict);
  EXPECT_EQ(Parse({"--dev", "--node-guard", "off"})->lock.guard.mode, GuardMode::kOff);
  EXPECT_CONTAINS(Refusal({"--dev", "--node-guard", "maybe"}), "--node-guard");
}

TEST_F(CommandLineTest, FlagsOverrideTheEnvironmentWhichOverridesTheFile) {
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

TEST_F(CommandLineTest, EnvironmentListsAreSeparatedByCommas) {
  variables["REDLOCKD_NODE"] = "redis://a,redis://b:7000/2";
  const auto config = Parse({});
  ASSERT_TRUE(config);
  ASSERT_EQ(config->nodes.size(), 2U);
  EXPECT_EQ(config->nodes[1].Name(), "b:7000");
  EXPECT_EQ(config->nodes[1].database, 2);
  EXPECT_EQ(Parse({"--node", "redis://c"})->nodes.size(), 1U);  // a flag replaces the list
}

TEST_F(CommandLineTest, InvalidValuesAreReported) {
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
  EXPECT_CONTAINS(Refusal({"--dev", "--listen", "unix:relative"}), "must be absolute");
  EXPECT_CONTAINS(Refusal({"--dev", "--no-such-flag"}), "--no-such-flag");
  EXPECT_CONTAINS(Refusal({"--dev", "--config", "/nowhere.toml"}), "/nowhere.toml");
  EXPECT_CONTAINS(Refusal({"--dev", "--max-ttl", "100ms", "--node-timeout", "90ms"}),
                  "--node-timeout");
  EXPECT_CONTAINS(Refusal({"--dev", "--redis-tls-cert", "x"}), "--redis-tls-key");
}

TEST_F(CommandLineTest, PortsOutOfRangeAreRefused) {
  for (const char* const port : {"65536", "99999", "18446744073709551617"}) {
    const std::string address = std::string("127.0.0.1:") + port;
    EXPECT_CONTAINS(Refusal({"--dev", "--listen", address}),
                    "--listen " + address + ": the port must be");
    EXPECT_CONTAINS(Refusal({"--dev", "--metrics-listen", address}),
                    "--metrics-listen " + address + ": the port must be");
    EXPECT_CONTAINS(Refusal({"--node", "redis://" + address}),
                    "--node #1 (127.0.0.1): the port must be");
  }
  EXPECT_CONTAINS(Refusal({"--dev", "--listen", "[::1]:65536"}), "--listen [::1]:65536");
  EXPECT_CONTAINS(Refusal({"--dev", "--listen", "127.0.0.1:1", "--listen", "127.0.0.1:65536"}),
                  "--listen 127.0.0.1:65536");
  EXPECT_CONTAINS(Refusal({"--dev", "--metrics-listen", "127.0.0.1:0"}), "from 1 to 65535");
  EXPECT_CONTAINS(Refusal({"--node", "redis://127.0.0.1:0"}), "from 1 to 65535");
  EXPECT_CONTAINS(Refusal({"--dev", "--metrics-listen", "9475"}),
                  "--metrics-listen 9475: the host is missing");
  EXPECT_CONTAINS(Refusal({"--dev", "--metrics-listen", "h"}),
                  "--metrics-listen h: must be host:port");
  EXPECT_CONTAINS(Refusal({"--dev", "--metrics-listen", "unix:/s"}), "must be host:port");
  EXPECT_CONTAINS(Refusal({"--dev", "--metrics-listen", "::1:9475"}),
                  "--metrics-listen ::1:9475: an IPv6 address must be enclosed in [ ]");
  for (const char* const address : {"[127.0.0.1]:9475", "[]:9475", "[::1:9475", "a:1,b:2"}) {
    EXPECT_CONTAINS(Refusal({"--dev", "--metrics-listen", address}), "must be host:port");
  }
  variables["REDLOCKD_LISTEN"] = "127.0.0.1:99999";
  EXPECT_CONTAINS(Refusal({"--dev"}), "REDLOCKD_LISTEN 127.0.0.1:99999");
}

TEST_F(CommandLineTest, PortsInRangeAreAccepted) {
  EXPECT_TRUE(Parse({"--dev", "--listen", "127.0.0.1:0"}));  // any free port
  for (const char* const address : {"127.0.0.1:1", "127.0.0.1:65535", "[::1]:65535"}) {
    EXPECT_TRUE(Parse({"--dev", "--listen", address, "--metrics-listen", address})) << address;
  }
}

TEST_F(CommandLineTest, HelpAndVersionPrintText) {
  EXPECT_FALSE(Parse({"--help"}));
  EXPECT_CONTAINS(output, "--node");
  EXPECT_CONTAINS(output, "REDLOCKD_NODE_TIMEOUT");
  EXPECT_FALSE(Parse({"--version"}));
  EXPECT_CONTAINS(output, "redlockd ");
}

}  // namespace
}  // namespace redlock::config
