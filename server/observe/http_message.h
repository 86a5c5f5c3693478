// Parses HTTP requests and formats answers: the part of HTTP/1.1 that serving a few documents
// needs. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace redlock::observe {

enum class HttpStatus {
  kOk = 200,
  kBadRequest = 400,
  kNotFound = 404,
  kMethodNotAllowed = 405,
  kHeadTooLarge = 431,
  kUnavailable = 503,
  kVersionNotSupported = 505,
};

struct HttpRequest {
  HttpStatus status = HttpStatus::kOk;  // otherwise: the error to answer
  bool head_only = false;               // the method is HEAD, so the answer has no body
  std::string path;                     // without the query, and not decoded
};

struct HttpAnswer {
  HttpStatus status = HttpStatus::kOk;
  const char* type = "text/plain; charset=utf-8";
  std::string body;
};

// The maximum size of a request line with all header fields, in bytes.
inline constexpr std::size_t kMaxRequestHead = std::size_t{8} * 1024;

// `received` is all that has been received, up to kMaxRequestHead bytes. Returns nothing if more is
// needed. Reports an error as soon as it is received. Ignores all header fields, and a body.
[[nodiscard]] std::optional<HttpRequest> ParseRequest(std::string_view received);

// Explains an error to a person.
[[nodiscard]] HttpAnswer ErrorAnswer(HttpStatus status);

// Returns the bytes to send. The connection must be closed after them.
[[nodiscard]] std::string Format(const HttpAnswer& answer, bool head_only);

}  // namespace redlock::observe
