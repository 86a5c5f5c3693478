// The configuration file, misspelt names in every source, and what is shown of the settings.
#include <fstream>
#include <map>
#include <regex>

#include "tests/support/process.h"
#include "tests/unit/command_line.h"

namespace redlock::config {
namespace {

class ConfigFile : public CommandLineTest {
 protected:
  // The error message for a file, from the line number on.
  std::string RefusalOf(const std::string& text) {
    Write(text);
    const std::string message = Refusal({"--config", path});
    return message.starts_with(path + ":") ? message.substr(path.size() + 1) : message;
  }
  void Write(const std::string& text) const { std::ofstream(path, std::ios::binary) << text; }

  testing::TemporaryDirectory directory;
  const std::string path = directory.path() + "/redlockd.toml";
};

TEST_F(ConfigFile, IsToml) {
  Write(
      "# a comment\r\n"
      "node = [ # three\r\n"
      "  'redis://app:a#b@h1',\r\n"
      "  \"redis://:p\\u0040q@h2\",\r\n"
      "]\r\n"
      "listen = \"127.0.0.1:7\"  # one address needs no list\r\n"
      "node-timeout = \"1.5s\"\r\n"
      "clock-drift-factor = 0.02\r\n"
      "shards = 0x2\r\n"
      "unix-socket-mode = '0600'\r\n"
      "insecure = true\r\n");
  const auto config = Parse({"--config", path});
  ASSERT_TRUE(config);
  ASSERT_EQ(config->nodes.size(), 2U);
  EXPECT_EQ(config->nodes[0].password, "a#b");
  EXPECT_EQ(config->nodes[1].password, "p@q");
  EXPECT_EQ(config->listen, std::vector<std::string>{"127.0.0.1:7"});
  EXPECT_EQ(config->lock.node_timeout, std::chrono::milliseconds(1500));
  EXPECT_EQ(config->lock.drift.factor, 0.02);
  EXPECT_EQ(config->shards, 2U);
  EXPECT_EQ(config->unix_socket_mode, "0600");
  EXPECT_TRUE(config->insecure);
}

TEST_F(ConfigFile, AnErrorNamesTheFileTheLineAndTheKey) {
  Write("dev = true\nshards = 99\n");
  EXPECT_EQ(Refusal({"--config", path}),
            path + ":2: shards 99: must be a whole number from 1 to 64");
  EXPECT_CONTAINS(RefusalOf("node = [\n\"redis://a\",\n\"redis://b:0\"]"),
                  "3: node #2 (b): the port");
  EXPECT_CONTAINS(RefusalOf("dev = true\nnode-timeout = \"x\""), "2: node-timeout x: must be a");
  EXPECT_CONTAINS(RefusalOf("dev = true\nlisten = [\"nonsense\"]"), "2: listen nonsense: must be");
  EXPECT_CONTAINS(RefusalOf("dev = true\nlog-level = \"loud\""), "2: log-level loud: must be");
  EXPECT_CONTAINS(RefusalOf("dev = true\nlog-level = \"info"), "2: ");
  EXPECT_CONTAINS(RefusalOf("dev = true\nshards = 1\nshards = 2"), "3: ");
  EXPECT_CONTAINS(RefusalOf("dev = true\nshards = 1\nshards = 2"), "'shards'");
}

TEST_F(ConfigFile, TypesAreChecked) {
  EXPECT_CONTAINS(RefusalOf("node-timeout = 50"), "1: node-timeout: must be a duration in quotes");
  EXPECT_CONTAINS(RefusalOf("shards = \"2\""), "1: shards: must be a whole number without quotes");
  EXPECT_CONTAINS(RefusalOf("shards = 2.0"), "must be a whole number");
  EXPECT_CONTAINS(RefusalOf("clock-drift-factor = \"0.01\""), "must be a number without quotes");
  EXPECT_CONTAINS(RefusalOf("dev = \"true\""), "1: dev: must be true or false, without quotes");
  EXPECT_CONTAINS(RefusalOf("dev = 1"), "must be true or false");
  EXPECT_CONTAINS(RefusalOf("unix-socket-mode = 660"), "must be a string in quotes");
  EXPECT_CONTAINS(RefusalOf("tls-cert = [\"a\"]"), "must be a string in quotes");
  EXPECT_CONTAINS(RefusalOf("node = [\"redis://a\",\n1]"), "2: node: must be a list of strings");
  EXPECT_CONTAINS(RefusalOf("listen = []"), "1: listen: the list is empty");
  EXPECT_EQ(RefusalOf("dev = true\nclock-drift-factor = 0"), "(accepted)");
}

TEST_F(ConfigFile, UnknownKeysAndSectionsAreRefused) {
  EXPECT_EQ(RefusalOf("dev = true\nnode-timeuot = \"70ms\"\n"),
            "2: node-timeuot: unknown option; did you mean node-timeout?");
  EXPECT_CONTAINS(RefusalOf("node_timeout = \"70ms\""), "did you mean node-timeout?");
  EXPECT_CONTAINS(RefusalOf("xyzzy = 1"), "1: xyzzy: unknown option");
  EXPECT_CONTAINS(RefusalOf("dev = true\n[redlockd]\nshards = 1"), "2: redlockd: is a table");
  EXPECT_CONTAINS(RefusalOf("[[node]]\nhost = 'h'"), "is a table");
  EXPECT_CONTAINS(RefusalOf("node.timeout = \"1s\""), "is a table");
}

TEST_F(ConfigFile, MustBeReadable) {
  EXPECT_CONTAINS(Refusal({"--config", directory.path()}), directory.path() + ": cannot read");
  EXPECT_CONTAINS(RefusalOf(std::string(2U << 20, '#')), "larger than 1 MiB");
  EXPECT_CONTAINS(RefusalOf("node = \"\xff\""), "1: ");
  EXPECT_CONTAINS(RefusalOf(""), "at least one Redis node");
}

TEST_F(ConfigFile, IsNamedByTheEnvironment) {
  Write("dev = true\nshards = 3\n");
  variables["REDLOCKD_CONFIG"] = path;
  EXPECT_EQ(Parse({})->shards, 3U);
  variables["REDLOCKD_CONFIG"] = "/nowhere";
  EXPECT_EQ(Parse({"--config", path})->shards, 3U);  // the flag takes precedence
  EXPECT_CONTAINS(Refusal({}), "/nowhere");
}

TEST_F(CommandLineTest, MisspeltFlagsAreRefused) {
  EXPECT_EQ(Refusal({"--dev", "--node-timout", "1s"}),
            "--node-timout: unknown option; did you mean --node-timeout?");
  EXPECT_CONTAINS(Refusal({"--dev", "--nodes=redis://a"}), "did you mean --node?");
  EXPECT_CONTAINS(Refusal({"--dev", "--ttl=1s"}), "did you mean --max-ttl?");
  EXPECT_CONTAINS(Refusal({"--dev", "--check"}), "did you mean --check-config?");
  EXPECT_CONTAINS(Refusal({"--dev", "redis://a"}), "neither an option nor the value of one");
  EXPECT_CONTAINS(Refusal({"--dev", "--shards"}), "--shards");
  EXPECT_CONTAINS(Refusal({"--dev", "--shards", "1", "--shards", "2"}), "--shards");
  EXPECT_EQ(Refusal({"--dev=maybe"}), "--dev maybe: must be true or false");
  EXPECT_CONTAINS(Refusal({"--dev=1"}), "must be true or false");
  EXPECT_CONTAINS(Refusal({"--dev", "--dev=maybe"}), "must be true or false");
  EXPECT_CONTAINS(Refusal({"--dev", "--check-config=maybe"}), "--check-config: must be true");
  EXPECT_TRUE(Parse({"--dev=true"}));
  EXPECT_TRUE(Parse({"--dev", "--dev"}));
  EXPECT_CONTAINS(Refusal({"--dev=false"}), "at least one Redis node");
}

TEST_F(CommandLineTest, MisspeltVariablesAreRefused) {
  for (const auto& [wrong, right] :
       std::map<std::string, std::string>{{"REDLOCKD_NODES", "REDLOCKD_NODE?"},
                                          {"REDLOCKD_NODE_TIMEUOT", "REDLOCKD_NODE_TIMEOUT?"},
                                          {"REDLOCKD_MAXTTL", "REDLOCKD_MAX_TTL?"},
                                          {"REDLOCKD_METRICS", "REDLOCKD_METRICS_LISTEN?"},
                                          {"REDLOCKD_TOKENS", "REDLOCKD_TOKEN_FILE?"},
                                          {"REDLOCKD_node", "REDLOCKD_NODE?"},
                                          {"REDLOCKD_CONFIG_FILE", "REDLOCKD_CONFIG?"}}) {
    variables = {{wrong, "Secret"}};
    EXPECT_EQ(Refusal({"--dev"}),
              "the environment variable " + wrong + " is not an option; did you mean " + right);
  }
}

TEST_F(CommandLineTest, OtherVariablesAreIgnoredWithAWarning) {
  variables = {{"REDLOCKD_BUILD", "Secret"}, {"REDLOCKD_LISTEN", ""}};
  EXPECT_TRUE(Parse({"--dev"}));
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_EQ(warnings[0],
            "the environment variable REDLOCKD_BUILD is not an option and has no effect");
}

// The kubelet sets them in every pod of the namespace.
TEST_F(CommandLineTest, VariablesOfAKubernetesServiceAreIgnored) {
  variables = {{"REDLOCKD_SERVICE_HOST", "10.0.0.1"},
               {"REDLOCKD_SERVICE_PORT", "50051"},
               {"REDLOCKD_SERVICE_PORT_GRPC", "50051"},
               {"REDLOCKD_PORT", "tcp://10.0.0.1:50051"},
               {"REDLOCKD_PORT_50051_TCP", "tcp://10.0.0.1:50051"},
               {"REDLOCKD_PORT_50051_TCP_PROTO", "tcp"},
               {"REDLOCKD_PORT_50051_TCP_PORT", "50051"},
               {"REDLOCKD_PORT_50051_TCP_ADDR", "10.0.0.1"},
               {"REDLOCKD_METRICS_SERVICE_HOST", "10.0.0.1"},
               {"REDLOCKD_METRICS_PORT", "tcp://10.0.0.1:9475"},
               {"REDLOCKD_METRICS_PORT_9475_TCP_ADDR", "10.0.0.1"}};
  EXPECT_TRUE(Parse({"--dev"}));
  EXPECT_EQ(warnings, std::vector<std::string>());
  variables["REDLOCKD_METRICS_PORT"] = "9475";
  EXPECT_CONTAINS(Refusal({"--dev"}), "did you mean REDLOCKD_METRICS_LISTEN?");
}

TEST_F(CommandLineTest, ACommaMayBePartOfAPasswordInTheEnvironment) {
  variables["REDLOCKD_NODE"] = "redis://u:a,b@h1, rediss://h2,unix:///s,";
  const auto config = Parse({});
  ASSERT_EQ(config->nodes.size(), 3U);
  EXPECT_EQ(config->nodes[0].password, "a,b");
  EXPECT_EQ(config->nodes[2].path, "/s");
}

TEST_F(CommandLineTest, AListenAddressNamesAHost) {
  for (const char* const address : {":50051", "50051"}) {
    EXPECT_CONTAINS(Refusal({"--dev", "--listen", address}), "the host is missing");
  }
  for (const char* const address : {"::1:50051", "::1", "fe80::2"}) {
    EXPECT_CONTAINS(Refusal({"--dev", "--listen", address}), "must be enclosed in [ ]") << address;
  }
  for (const char* const address : {"127.0.0.1", "[::1]", "[h]:1", "a b:1", "http://h:1", "*:1"}) {
    EXPECT_CONTAINS(Refusal({"--dev", "--listen", address}), "must be host:port") << address;
  }
  EXPECT_CONTAINS(Refusal({"--dev", "--listen", "unix:/" + std::string(120, 'x')}), "longer than");
  EXPECT_CONTAINS(Refusal({"--dev", "--listen", "unix:/a?b"}), "must not contain");
  EXPECT_CONTAINS(Refusal({"--dev", "--listen", "unix:/s", "--listen", "unix:///s"}),
                  "given twice");
  EXPECT_TRUE(Parse({"--dev", "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"}));
  EXPECT_TRUE(Parse({"--dev", "--listen", "[::ffff:127.0.0.1]:1", "--listen", "127.8.9.1:1"}));
  EXPECT_CONTAINS(Refusal({"--dev", "--listen", "127.example.org:1"}), "--insecure");
}

TEST_F(CommandLineTest, TokensWithoutTlsDrawAWarning) {
  const std::vector<std::string> open = {"--dev",   "--listen",     "0.0.0.0:1", "--listen",
                                         "unix:/s", "--token-file", "t"};
  EXPECT_TRUE(Parse(open));
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_CONTAINS(warnings[0], "0.0.0.0:1: bearer tokens cross the network unencrypted");
  EXPECT_TRUE(Parse({"--dev", "--token-file", "t"}));
  EXPECT_TRUE(warnings.empty());
  auto with_tls = open;
  with_tls.insert(with_tls.end(), {"--tls-cert", "c", "--tls-key", "k"});
  EXPECT_TRUE(Parse(with_tls));
  EXPECT_TRUE(warnings.empty());
}

TEST_F(CommandLineTest, TheSettingsInForceAreShownWithoutSecrets) {
  variables["REDLOCKD_MAX_TTL"] = "90s";
  EXPECT_TRUE(Parse({"--node", "redis://app:Secret@h:1/2", "--clock-drift-buffer", "0.5ms"}));
  EXPECT_CONTAINS(settings, "node = [\"redis://app:***@h:1/2\"]  # flag\n");
  EXPECT_CONTAINS(settings, "max-ttl = \"90s\"  # environment\n");
  EXPECT_CONTAINS(settings, "clock-drift-buffer = \"0.5ms\"  # flag\n");
  EXPECT_CONTAINS(settings, "clock-drift-factor = 0.01  # default\n");
  EXPECT_CONTAINS(settings, "node-guard = \"on\"  # default\n");
  EXPECT_CONTAINS(settings, "shards = 1  # default\n");
  EXPECT_CONTAINS(settings, "dev = false  # default\n");
}

// The settings as they are shown, without the comments that name their sources.
std::string WithoutSources(const std::string& settings) {
  return std::regex_replace(settings, std::regex("  # [a-z]+\n"), "\n");
}

TEST_F(ConfigFile, TheShownSettingsAreAConfigurationFile) {
  EXPECT_TRUE(Parse({"--dev", "--log-format", "json", "--listen", "unix:/s"}));
  const std::string shown = settings;
  Write(shown);
  EXPECT_TRUE(Parse({"--config", path}));
  EXPECT_EQ(WithoutSources(settings), WithoutSources(shown));
  EXPECT_CONTAINS(settings, "log-format = \"json\"  # file\n");
}

// Whatever an operator mixes up: no message contains the password.
TEST_F(ConfigFile, NoMessageShowsAPassword) {
  const std::string uri = "redis://app:Secret@h:6379";
  const auto expect_hidden = [](const std::string& message) {
    EXPECT_NE(message, "(accepted)");
    EXPECT_EQ(message.find("Secret"), std::string::npos) << message;
  };
  for (const char* const flag :
       {"--listen", "--metrics-listen", "--shards", "--node-timeout", "--clock-drift-factor",
        "--node-guard", "--log-level", "--tls-cert", "--token-file", "--unix-socket-mode",
        "--unix-socket-owner", "--config", "--nodes", "--dev", "-n", "--"}) {
    expect_hidden(Refusal({"--node", "redis://h", flag, uri}));
    expect_hidden(Refusal({"--node", "redis://h", std::string(flag) + "=" + uri}));
    if (std::string(flag).size() < 3) continue;
    variables = {{VariableOf(std::string(flag).substr(2)), uri}};
    expect_hidden(Refusal({"--node", "redis://h"}));
    variables.clear();
    if (flag != std::string("--config")) {
      expect_hidden(RefusalOf(std::string(flag).substr(2) + " = \"" + uri + "\""));
    }
  }
  expect_hidden(Refusal({"--node", "redis://h", "--check-config=" + uri}));
  expect_hidden(Refusal({uri}));
  expect_hidden(Refusal({"--node", uri, uri}));
  expect_hidden(Refusal({"--node", uri, "--node", uri}));
  variables = {{"REDLOCKD_NODE", "redis://app:a,Secret@h:0"}};
  expect_hidden(Refusal({}));
  variables.clear();
  for (const std::string& text : std::vector<std::string>{
           "node = " + uri, "node = [\"redis://a\", " + uri + "]", "node = \"" + uri + "\n",
           "node = '" + uri, "node = \"" + uri + "\" x", uri, "\"" + uri + "\",",
           "\"" + uri + "\" = 1", "\"" + uri + "\" = 1\n\"" + uri + "\" = 2", "node = \"\\Secret\"",
           "dev = trueSecret", "shards = 1Secret", "nodes = \"" + uri + "\"",
           "[node]\nuri = \"" + uri + "\"", "node = { uri = \"" + uri + "\" }",
           "node = [[\"" + uri + "\"]]", "[\"" + uri + "\"]\n[\"" + uri + "\"]"}) {
    expect_hidden(RefusalOf(text));
  }
}

}  // namespace
}  // namespace redlock::config
