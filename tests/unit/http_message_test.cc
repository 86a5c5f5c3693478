#include "server/observe/http_message.h"

#include <gtest/gtest.h>

namespace redlock::observe {
namespace {

HttpStatus StatusOf(const std::string& received) {
  const auto request = ParseRequest(received);
  EXPECT_TRUE(request) << received;
  return request ? request->status : HttpStatus::kOk;
}

TEST(HttpRequest, IsParsedOnceItsHeadIsComplete) {
  const std::string text = "HEAD /metrics?name=x HTTP/1.1\r\nhost: a\r\nX: \t\xc3\xa4\r\n\r\n";
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_FALSE(ParseRequest(text.substr(0, size))) << size;
  }
  const auto request = ParseRequest(text + '\0');  // the body is ignored
  ASSERT_TRUE(request);
  EXPECT_EQ(request->status, HttpStatus::kOk);
  EXPECT_EQ(request->path, "/metrics");
  EXPECT_TRUE(request->head_only);
}

TEST(HttpRequest, MayHaveOtherForms) {
  for (const char* const text :
       {"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\nHost:\n\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a:1/ HTTP/1.1\r\nHost: a:1\r\n\r\n"}) {
    const auto request = ParseRequest(text);
    ASSERT_TRUE(request) << text;
    EXPECT_EQ(request->status, HttpStatus::kOk) << text;
    EXPECT_EQ(request->path, "/") << text;
    EXPECT_FALSE(request->head_only) << text;
  }
}

TEST(HttpRequest, IsRefusedAsSoonAsItIsInvalid) {
  for (const char* const text : {"GET\r\n",
                                 "GET /\r\n",
                                 "GET / \r\n",
                                 "GET  HTTP/1.1\r\n",
                                 "GET / / HTTP/1.1\r\n",
                                 "GET /\tx HTTP/1.1\r\n",
                                 "GET x HTTP/1.1\r\n",
                                 "GET / HTTP/1\r\n",
                                 "GET / http/1.1\r\n",
                                 "G@T / HTTP/1.1\r\n",
                                 " / HTTP/1.1\r\n",
                                 "\x16\x03\x01",
                                 "GET /\rx",
                                 "GET / HTTP/1.1\r\nno field\r\n",
                                 "GET / HTTP/1.1\r\n: empty\r\n",
                                 "GET / HTTP/1.1\r\nHost : a\r\n",
                                 "GET / HTTP/1.1\r\nX: a\r\n folded\r\n",
                                 "GET / HTTP/1.1\r\nX: \x01",
                                 "GET / HTTP/1.1\r\n\r\n",
                                 "GET / HTTP/1.1\r\nHost: a\r\nHOST: b\r\n\r\n"}) {
    EXPECT_EQ(StatusOf(text), HttpStatus::kBadRequest) << text;
  }
  EXPECT_EQ(StatusOf(std::string("GET /\0", 6)), HttpStatus::kBadRequest);
  EXPECT_EQ(StatusOf("PRI * HTTP/2.0\r\n"), HttpStatus::kVersionNotSupported);
  EXPECT_EQ(StatusOf("POST / HTTP/1.1\r\n"), HttpStatus::kMethodNotAllowed);
  EXPECT_EQ(StatusOf("OPTIONS * HTTP/1.1\r\n"), HttpStatus::kMethodNotAllowed);
  EXPECT_EQ(StatusOf("get / HTTP/1.1\r\n"), HttpStatus::kMethodNotAllowed);
}

TEST(HttpAnswer, ToHeadHasTheLengthOfTheBodyThatItLeavesOut) {
  const HttpAnswer answer{.type = "text/css", .body = "12345"};
  const std::string whole = Format(answer, false);
  EXPECT_TRUE(whole.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/css\r\n"));
  EXPECT_NE(whole.find("\r\nContent-Length: 5\r\n"), std::string::npos);
  EXPECT_EQ(Format(answer, true) + answer.body, whole);
}

TEST(HttpAnswer, NamesTheMethodsThatAreAllowed) {
  const std::string text = Format(ErrorAnswer(HttpStatus::kMethodNotAllowed), false);
  EXPECT_TRUE(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
  EXPECT_NE(text.find("\r\nAllow: GET, HEAD\r\n"), std::string::npos);
}

}  // namespace
}  // namespace redlock::observe
