#include "server/observe/audit_log.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/config/config.h"

namespace redlock::observe {
namespace {

class AuditLogTest : public ::testing::Test {
 protected:
  AuditLogTest() {
    signal(SIGXFSZ, SIG_IGN);
    std::string name = ::testing::TempDir() + "audit-XXXXXX";
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  ~AuditLogTest() override { std::filesystem::remove_all(directory_); }

  [[nodiscard]] std::string Path(const std::string& name) const { return directory_ + "/" + name; }

  [[nodiscard]] std::vector<nlohmann::json> Lines(const std::string& name) const {
    std::ifstream file(Path(name));
    std::vector<nlohmann::json> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
    return lines;
  }

  const AuditCaller caller_{
      .identity = "", .peer = "unix:", .tag = {.request_id = "r", .trace = {}}};

 private:
  std::string directory_;
};

TEST_F(AuditLogTest, WritesOneObjectPerLineWhateverTheTexts) {
  const Key key = Key::Of({"quote \" and \\", "line\nbreak"}).Shared();
  {
    AuditLog log(Path("a"));
    log.Write({.event = "acquired",
               .key = key,
               .owner = OwnerLabel("\x01"),
               .fence = kMaxFencingToken,
               .waited = std::chrono::microseconds(1'500'001)},
              caller_);
  }
  const auto lines = Lines("a");
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0]["keys"], nlohmann::json({"line\nbreak", "quote \" and \\"}));
  EXPECT_EQ(lines[0]["mode"], "shared");
  EXPECT_EQ(lines[0]["owner"], "\x01");
  EXPECT_EQ(lines[0]["fencing_token"], kMaxFencingToken.value);
  EXPECT_EQ(lines[0]["waited_seconds"], 1.500001);
  EXPECT_EQ(lines[0]["peer"], "unix:");
  EXPECT_FALSE(lines[0].contains("identity"));
  EXPECT_FALSE(lines[0].contains("held_seconds"));
  EXPECT_FALSE(lines[0].contains("trace_id"));
}

TEST_F(AuditLogTest, TheLongestLineIsWhole) {
  std::vector<std::string> names;
  for (int i = 0; i < 64; ++i) names.push_back(std::to_string(i) + std::string(126, '\x02'));
  const Key key = Key::Of(names);
  {
    AuditLog log(Path("a"));
    for (int i = 0; i < 10; ++i) log.Write({.event = "acquired", .key = key}, caller_);
    EXPECT_EQ(DroppedAuditLines(), 0U);
  }
  const auto lines = Lines("a");
  ASSERT_EQ(lines.size(), 10U);
  EXPECT_EQ(lines[9]["keys"].size(), 64U);
}

TEST_F(AuditLogTest, ItAddsToAFileAndGoesOnWithANewOne) {
  const Key key("k");
  std::ofstream(Path("a")) << "{}\n";
  {
    AuditLog log(Path("a"));
    log.Write({.event = "acquired", .key = key}, caller_);
    std::filesystem::rename(Path("a"), Path("b"));
    // The first line may be waiting still: it goes to the new file.
    log.Reopen();
    log.Write({.event = "released", .key = key}, caller_);
    EXPECT_EQ(std::filesystem::status(Path("a")).permissions() & std::filesystem::perms::others_all,
              std::filesystem::perms::none);
    EXPECT_THROW(AuditLog(Path("missing/a")), config::ConfigError);
  }
  EXPECT_EQ(Lines("a").size() + Lines("b").size(), 3U);
  EXPECT_EQ(Lines("a").back()["event"], "released");
}

TEST_F(AuditLogTest, ACheckCreatesNothing) {
  CheckAuditLog(Path("a"));
  CheckAuditLog("-");
  EXPECT_FALSE(std::filesystem::exists(Path("a")));
  EXPECT_THROW(CheckAuditLog(Path("missing/a")), config::ConfigError);
  EXPECT_THROW(CheckAuditLog(Path("")), config::ConfigError);
}

TEST_F(AuditLogTest, DroppedLinesAreCounted) {
  const Key key("k");
  AuditLog log("/dev/full");
  log.Write({.event = "acquired", .key = key}, caller_);
  for (int i = 0; i < 1'000 && DroppedAuditLines() == 0; ++i) usleep(10'000);
  EXPECT_EQ(DroppedAuditLines(), 1U);
}

}  // namespace
}  // namespace redlock::observe
