#include "server/observe/http_message.h"

#include <strings.h>

#include <algorithm>
#include <utility>

namespace redlock::observe {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool IsTokenCharacter(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool IsToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsTokenCharacter);
}

// Header fields may contain tabs, and bytes above 127.
bool IsControl(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\t') || byte == 0x7f;
}

// The form is HTTP/digit.digit.
bool IsVersion(std::string_view text) {
  return text.size() == 8 && text.starts_with("HTTP/") && IsDigit(text[5]) && text[6] == '.' &&
         IsDigit(text[7]);
}

// The head of one request, which is parsed line by line.
class Head {
 public:
  explicit Head(HttpRequest& request) : request_(request) {}

  [[nodiscard]] bool started() const { return started_; }

  // Not the empty line that ends the head.
  HttpStatus Parse(std::string_view line) {
    return std::exchange(started_, true) ? ParseField(line) : ParseRequestLine(line);
  }

  // Requests of HTTP/1.1 must have exactly one field Host.
  HttpStatus End() const {
    return hosts_ == 1 || (old_ && hosts_ == 0) ? HttpStatus::kOk : HttpStatus::kBadRequest;
  }

 private:
  HttpStatus ParseRequestLine(std::string_view line) {
    const auto first = line.find(' ');
    const auto last = line.rfind(' ');
    if (first == last) return HttpStatus::kBadRequest;  // one space or none
    const std::string_view method = line.substr(0, first);
    std::string_view target = line.substr(first + 1, last - first - 1);
    const std::string_view version = line.substr(last + 1);
    if (!IsToken(method) || target.empty() || target.find_first_of(" \t") != target.npos ||
        !IsVersion(version)) {
      return HttpStatus::kBadRequest;
    }
    if (version[5] != '1') return HttpStatus::kVersionNotSupported;
    if (method != "GET" && method != "HEAD") return HttpStatus::kMethodNotAllowed;
    request_.head_only = method == "HEAD";
    old_ = version[7] == '0';
    // A proxy may send the whole URL.
    if (target.starts_with("http://")) {
      target = target.substr(std::min(target.find('/', 7), target.size()));
      if (target.empty()) target = "/";
    }
    if (!target.starts_with('/')) return HttpStatus::kBadRequest;
    request_.path = target.substr(0, target.find('?'));
    return HttpStatus::kOk;
  }

  HttpStatus ParseField(std::string_view line) {
    const auto colon = line.find(':');
    if (colon == line.npos || !IsToken(line.substr(0, colon))) return HttpStatus::kBadRequest;
    if (colon == 4 && strncasecmp(line.data(), "host", 4) == 0) ++hosts_;
    return HttpStatus::kOk;
  }

  HttpRequest& request_;
  bool started_ = false;  // the request line has been parsed
  bool old_ = false;      // HTTP/1.0
  std::size_t hosts_ = 0;
};

const char* ReasonPhrase(HttpStatus status) {
  switch (status) {
    case HttpStatus::kOk:
      return "OK";
    case HttpStatus::kBadRequest:
      return "Bad Request";
    case HttpStatus::kNotFound:
      return "Not Found";
    case HttpStatus::kMethodNotAllowed:
      return "Method Not Allowed";
    case HttpStatus::kHeadTooLarge:
      return "Request Header Fields Too Large";
    case HttpStatus::kUnavailable:
      return "Service Unavailable";
    case HttpStatus::kVersionNotSupported:
      return "HTTP Version Not Supported";
  }
  return "";
}

const char* Explanation(HttpStatus status) {
  switch (status) {
    case HttpStatus::kOk:
      return "";
    case HttpStatus::kBadRequest:
      return "the request is not valid HTTP/1.1\n";
    case HttpStatus::kNotFound:
      return "not found; see / and /metrics\n";
    case HttpStatus::kMethodNotAllowed:
      return "only GET and HEAD are allowed\n";
    case HttpStatus::kHeadTooLarge:
      return "the request line and the header fields must not be longer than 8 KiB\n";
    case HttpStatus::kUnavailable:
      return "a shard did not answer in time\n";
    case HttpStatus::kVersionNotSupported:
      return "only HTTP/1.1 and HTTP/1.0 are supported\n";
  }
  return "";
}

}  // namespace

std::optional<HttpRequest> ParseRequest(std::string_view received) {
  HttpRequest request;
  Head head(request);
  while (true) {
    const auto end = received.find('\n');
    std::string_view line = received.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (std::any_of(line.begin(), line.end(), IsControl)) {
      request.status = HttpStatus::kBadRequest;
      return request;
    }
    if (end == received.npos) return std::nullopt;
    received.remove_prefix(end + 1);
    if (!line.empty()) {
      request.status = head.Parse(line);
      if (request.status != HttpStatus::kOk) return request;
    } else if (head.started()) {
      request.status = head.End();
      return request;
    }  // otherwise ignore the line: some clients send empty lines before a request
  }
}

HttpAnswer ErrorAnswer(HttpStatus status) {
  return {.status = status, .body = Explanation(status)};
}

std::string Format(const HttpAnswer& answer, bool head_only) {
  std::string text = "HTTP/1.1 " + std::to_string(static_cast<int>(answer.status)) + " " +
                     ReasonPhrase(answer.status) + "\r\nContent-Type: " + answer.type +
                     "\r\nContent-Length: " + std::to_string(answer.body.size()) + "\r\n";
  if (answer.status == HttpStatus::kMethodNotAllowed) text += "Allow: GET, HEAD\r\n";
  text +=
      "Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
      "Referrer-Policy: no-referrer\r\n"
      "Content-Security-Policy: default-src 'self'; img-src data:; frame-ancestors 'none'; "
      "base-uri 'none'; form-action 'none'\r\n\r\n";
  if (!head_only) text += answer.body;
  return text;
}

}  // namespace redlock::observe
