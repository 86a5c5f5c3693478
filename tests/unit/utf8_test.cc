// What counts as UTF-8, and how a text is cut.
#include "server/core/utf8.h"

#include <gtest/gtest.h>

#include <string>

#include "server/core/format.h"

namespace redlock {
namespace {

TEST(Utf8, AcceptsSequencesOfEveryLength) {
  for (const char* text : {"", "plain", "w\xc3\xb6rker", "\xe2\x82\xac", "\xf0\x9f\x94\x92"}) {
    EXPECT_TRUE(IsUtf8(text)) << text;
  }
  EXPECT_TRUE(IsUtf8(std::string("a\0b", 3)));
}

TEST(Utf8, RejectsWhatIsMalformed) {
  for (const char* text : {"\xff", "\x80", "a\xc3", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80",
                           "\xf4\x90\x80\x80", "\xf0\x9f\x94"}) {
    EXPECT_FALSE(IsUtf8(text)) << Quoted(text);
  }
}

TEST(Utf8, IsCutBetweenSequencesAndBeforeWhatIsMalformed) {
  EXPECT_EQ(Utf8Prefix("abc", 2), "ab");
  EXPECT_EQ(Utf8Prefix("ab\xe2\x82\xac", 4), "ab");
  EXPECT_EQ(Utf8Prefix("ab\xe2\x82\xac", 5), "ab\xe2\x82\xac");
  EXPECT_EQ(Utf8Prefix("ab\xff"
                       "cd",
                       10),
            "ab");
  EXPECT_EQ(Utf8Prefix("", 10), "");
}

TEST(Quoted, EscapesWhatWouldBreakALine) {
  EXPECT_EQ(Quoted("a\"b\\c\n\x1b[31m\x7f"), "\"a\\\"b\\\\c\\u000a\\u001b[31m\\u007f\"");
}

}  // namespace
}  // namespace redlock
