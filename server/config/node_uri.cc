#include "server/config/node_uri.h"

#include <charconv>
#include <fstream>
#include <optional>
#include <string>
#include <utility>

#include "server/config/config.h"

namespace redlock::config {
namespace {

constexpr int kMaxDatabase = 9999;

// The URI without its credentials, for error messages.
std::string Redacted(std::string_view uri) {
  const auto scheme = uri.find("://");
  const auto at = uri.rfind('@');
  if (scheme == std::string_view::npos || at == std::string_view::npos || at < scheme) {
    return std::string(uri);
  }
  return std::string(uri.substr(0, scheme + 3)) + "***" + std::string(uri.substr(at));
}

class Parser {
 public:
  explicit Parser(std::string_view uri) : uri_(uri) {}

  redis::Endpoint Parse() {
    const auto scheme_end = uri_.find("://");
    const std::string_view scheme = uri_.substr(0, scheme_end);
    if (scheme_end == std::string_view::npos ||
        (scheme != "redis" && scheme != "rediss" && scheme != "unix")) {
      Fail("the scheme must be redis://, rediss:// (TLS) or unix://");
    }
    std::string_view rest = uri_.substr(scheme_end + 3);
    const auto [body, query] = Cut(rest, '?');
    if (scheme == "unix") {
      ParsePath(body);
    } else {
      endpoint_.kind =
          scheme == "rediss" ? redis::Endpoint::Kind::kTls : redis::Endpoint::Kind::kTcp;
      ParseAuthority(body);
    }
    if (query) ParseQuery(*query);
    return std::move(endpoint_);
  }

 private:
  static std::pair<std::string_view, std::optional<std::string_view>> Cut(std::string_view text,
                                                                          char separator) {
    const auto at = text.find(separator);
    if (at == std::string_view::npos) return {text, std::nullopt};
    return {text.substr(0, at), text.substr(at + 1)};
  }

  [[noreturn]] void Fail(const std::string& allowed) const {
    throw ConfigError("--node " + Redacted(uri_) + ": " + allowed);
  }

  template <typename Number>
  Number ParseNumber(std::string_view text, Number low, Number high, const char* what) const {
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
      Fail(std::string(what) + " must be a number from " + std::to_string(low) + " to " +
           std::to_string(high));
    }
    return value;
  }

  std::string Decode(std::string_view text) const {
    std::string decoded;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '%') {
        decoded += text[i];
        continue;
      }
      unsigned value = 0;
      const char* const begin = text.data() + i + 1;
      if (i + 2 >= text.size() || std::from_chars(begin, begin + 2, value, 16).ptr != begin + 2) {
        Fail("a % must be followed by two hexadecimal digits");
      }
      decoded += static_cast<char>(value);
      i += 2;
    }
    return decoded;
  }

  void ParsePath(std::string_view path) {
    endpoint_.kind = redis::Endpoint::Kind::kUnix;
    constexpr std::size_t kMaxSocketPath = 107;  // sun_path without its terminating null byte
    if (path.empty() || path.front() != '/') Fail("the socket path must be absolute");
    if (path.size() > kMaxSocketPath) Fail("the socket path must not be longer than 107 bytes");
    endpoint_.path = path;
  }

  void ParseAuthority(std::string_view body) {
    const auto at = body.rfind('@');
    if (at != std::string_view::npos) {
      const auto [user, password] = Cut(body.substr(0, at), ':');
      endpoint_.user = Decode(user);
      if (password) endpoint_.password = Decode(*password);
      body.remove_prefix(at + 1);
    }
    const auto [address, database] = Cut(body, '/');
    if (database && !database->empty()) {
      endpoint_.database = ParseNumber(*database, 0, kMaxDatabase, "the database");
    }
    ParseAddress(address);
  }

  void ParseAddress(std::string_view address) {
    std::optional<std::string_view> port;
    if (address.starts_with('[')) {
      const auto close = address.find(']');
      if (close == std::string_view::npos) Fail("an IPv6 address must end with ]");
      endpoint_.host = address.substr(1, close - 1);
      const std::string_view after = address.substr(close + 1);
      if (!after.empty() && after.front() != ':') Fail("only :port may follow the ]");
      if (!after.empty()) port = after.substr(1);
    } else {
      const auto [host, after] = Cut(address, ':');
      endpoint_.host = host;
      port = after;
      if (port && port->find(':') != std::string_view::npos) {
        Fail("an IPv6 address must be enclosed in [ ]");
      }
    }
    if (endpoint_.host.empty()) Fail("the host is missing");
    if (port) endpoint_.port = ParseNumber<std::uint16_t>(*port, 1, 65535, "the port");
  }

  void ParseQuery(std::string_view query) {
    while (!query.empty()) {
      const auto [pair, rest] = Cut(query, '&');
      const auto [name, value] = Cut(pair, '=');
      if (name == "password_file" && value) {
        endpoint_.password = ReadPassword(Decode(*value));
      } else if (name == "user" && value && endpoint_.kind == redis::Endpoint::Kind::kUnix) {
        endpoint_.user = Decode(*value);
      } else if (name == "database" && value && endpoint_.kind == redis::Endpoint::Kind::kUnix) {
        endpoint_.database = ParseNumber(*value, 0, kMaxDatabase, "the database");
      } else {
        Fail("unknown parameter \"" + std::string(name) +
             "\"; use password_file or, with unix://, user or database");
      }
      query = rest.value_or(std::string_view());
    }
  }

  std::string ReadPassword(const std::string& path) const {
    std::ifstream file(path);
    std::string password;
    if (!file || !std::getline(file, password) || password.empty()) {
      Fail("cannot read a password from the first line of the file " + path);
    }
    return password;
  }

  std::string_view uri_;
  redis::Endpoint endpoint_;
};

}  // namespace

redis::Endpoint ParseNodeUri(std::string_view uri) { return Parser(uri).Parse(); }

}  // namespace redlock::config
