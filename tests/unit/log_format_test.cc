#include "server/observe/log_format.h"

#include <gtest/gtest.h>
#include <spdlog/details/log_msg.h>

#include <nlohmann/json.hpp>
#include <string>

#include "server/observe/line_writer.h"
#include "server/observe/request_tag.h"

namespace redlock::observe {
namespace {

std::string Format(config::LogFormat format, const std::string& text,
                   Reader reader = Reader::kAny) {
  spdlog::memory_buf_t line;
  MakeFormatter(format, reader)
      ->format(spdlog::details::log_msg("redlockd", spdlog::level::warn, text), line);
  return {line.data(), line.size()};
}

std::string JsonMessage(const std::string& text) {
  return nlohmann::json::parse(Format(config::LogFormat::kJson, text))["message"];
}

TEST(LogFormat, KeepsTextAndEscapesWhatIsNotText) {
  const std::string text = "\"key\" \\ \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80";
  EXPECT_EQ(JsonMessage(text), text);
  EXPECT_EQ(JsonMessage("a\nb\x7f"), "a\nb\x7f");
  for (const std::string& malformed :
       {std::string("\xff"), std::string("\xc3"), std::string("\xc0\xaf"),
        std::string("\xed\xa0\x80"), std::string("\xf5\x80\x80\x80")}) {
    EXPECT_EQ(JsonMessage(malformed + "!").substr(0, 3), "\xef\xbf\xbd") << malformed.size();
  }
  EXPECT_NE(Format(config::LogFormat::kText, "a\nb\xff").find("warning a\\u000ab\\ufffd\n"),
            std::string::npos);
}

TEST(LogFormat, ALineFitsIntoOneWriteToAPipe) {
  const RequestTag tag{std::string(128, 'r'),
                       TraceContext{std::string(32, 't'), std::string(16, 's')}};
  const TaggedLines tagged(tag);
  for (const std::string& unit :
       {std::string("x"), std::string("\n"), std::string("\xf0\x9f\x98\x80")}) {
    std::string text;
    while (text.size() < 10'000) text += unit;
    const std::string line = Format(config::LogFormat::kJson, text);
    EXPECT_TRUE(nlohmann::json::accept(line));
    EXPECT_LE(Format(config::LogFormat::kJson, text, Reader::kJournal).size(),
              LineWriter::kLongestLine);
    EXPECT_LE(Format(config::LogFormat::kText, text).size(), LineWriter::kLongestLine);
  }
}

}  // namespace
}  // namespace redlock::observe
