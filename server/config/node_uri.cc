#include "server/config/node_uri.h"

#include <charconv>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "server/config/config.h"
#include "server/config/host.h"

namespace redlock::config {
namespace {

constexpr int kMaxDatabase = 9999;

class Parser {
 public:
  Parser(std::string_view uri, std::size_t number) : uri_(uri), number_(number) {}

  redis::Endpoint Parse() {
    const auto scheme_end = uri_.find("://");
    const std::string_view scheme = uri_.substr(0, scheme_end);
    if (scheme_end == std::string_view::npos ||
        (scheme != "redis" && scheme != "rediss" && scheme != "unix")) {
      Fail("the scheme must be redis://, rediss:// (TLS) or unix://");
    }
    std::string_view rest = uri_.substr(scheme_end + 3);
    const auto [body, query] = Cut(rest, '?');
    if (query && query->find('@') != std::string_view::npos) {
      Fail(
          "in a user name, a password or a path, write ? as %3F and @ as %40, because ? starts the "
          "parameters");
    }
    if (scheme == "unix") {
      ParsePath(body);
    } else {
      endpoint_.kind =
          scheme == "rediss" ? redis::Endpoint::Kind::kTls : redis::Endpoint::Kind::kTcp;
      ParseAuthority(body);
    }
    if (query) ParseQuery(*query);
    if (names_user_ && !has_password_) {
      Fail(
          "a password is missing; write redis://user:password@host, or add ?password_file=PATH (a "
          "Redis user with nopass accepts any password)");
    }
    return std::move(endpoint_);
  }

 private:
  static std::pair<std::string_view, std::optional<std::string_view>> Cut(std::string_view text,
                                                                          char separator) {
    const auto at = text.find(separator);
    if (at == std::string_view::npos) return {text, std::nullopt};
    return {text.substr(0, at), text.substr(at + 1)};
  }

  // Names the node by its number and, once known, its host. Any other part may be a password in the
  // wrong place.
  [[noreturn]] void Fail(const std::string& what) const {
    const std::string host = endpoint_.host.empty() ? "" : " (" + endpoint_.host + ")";
    throw ConfigError("--node #" + std::to_string(number_) + host + ": " + what);
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
      if (password) {
        NotePassword();
        endpoint_.password = Decode(*password);
        if (endpoint_.password.empty()) Fail("the password is empty");
      }
      names_user_ = true;
      body.remove_prefix(at + 1);
    }
    const auto [address, database] = Cut(body, '/');
    ParseAddress(address);
    if (database && !database->empty()) {
      endpoint_.database = ParseNumber(*database, 0, kMaxDatabase, "the database");
    }
  }

  void ParseAddress(std::string_view address) {
    std::optional<std::string_view> port;
    if (address.starts_with('[')) {
      const auto close = address.find(']');
      if (close == std::string_view::npos) Fail("an IPv6 address must end with ]");
      if (!IsIpV6(address.substr(1, close - 1))) Fail("only an IPv6 address may be in [ ]");
      endpoint_.host = address.substr(1, close - 1);
      const std::string_view after = address.substr(close + 1);
      if (!after.empty() && after.front() != ':') Fail("only :port may follow the ]");
      if (!after.empty()) port = after.substr(1);
    } else {
      if (IsIpV6(address)) Fail("an IPv6 address must be enclosed in [ ]");
      const auto [host, after] = Cut(address, ':');
      if (!host.empty() && !IsHostName(host)) Fail("the host must be a name or an IP address");
      endpoint_.host = host;
      port = after;
    }
    if (endpoint_.host.empty()) Fail("the host is missing");
    if (port) endpoint_.port = ParseNumber<std::uint16_t>(*port, 1, 65535, "the port");
  }

  void ParseQuery(std::string_view query) {
    while (!query.empty()) {
      const auto [pair, rest] = Cut(query, '&');
      const auto [name, value] = Cut(pair, '=');
      if (name == "password_file" && value) {
        NotePassword();
        endpoint_.password_file = OpenPassword(Decode(*value));
      } else if (name == "user" && value && endpoint_.kind == redis::Endpoint::Kind::kUnix) {
        endpoint_.user = Decode(*value);
        names_user_ = true;
      } else if (name == "database" && value && endpoint_.kind == redis::Endpoint::Kind::kUnix) {
        endpoint_.database = ParseNumber(*value, 0, kMaxDatabase, "the database");
      } else {
        Fail(
            "unknown parameter; allowed are password_file=PATH and, with unix://, user=NAME and "
            "database=NUMBER");
      }
      query = rest.value_or(std::string_view());
    }
  }

  void NotePassword() {
    if (has_password_) Fail("two passwords are given; give one, in the address or in a file");
    has_password_ = true;
  }

  std::shared_ptr<secrets::PasswordFile> OpenPassword(const std::string& path) const {
    try {
      return std::make_shared<secrets::PasswordFile>(path);
    } catch (const std::runtime_error& error) {
      // What does not look like a path may be the password itself.
      const bool is_path = path.starts_with('/') || path.starts_with("./");
      Fail(is_path ? error.what() : "cannot read a password from the password_file");
    }
  }

  std::string_view uri_;
  std::size_t number_;
  bool names_user_ = false;
  bool has_password_ = false;
  redis::Endpoint endpoint_;
};

}  // namespace

redis::Endpoint ParseNodeUri(std::string_view uri, std::size_t number) {
  return Parser(uri, number).Parse();
}

std::string WithoutPassword(std::string_view uri) {
  const auto start = uri.find("://") + 3;
  const auto at = uri.rfind('@');
  if (uri.starts_with("unix://") || at == std::string_view::npos) return std::string(uri);
  const std::string_view credentials = uri.substr(start, at - start);
  const auto colon = credentials.find(':');
  return std::string(uri.substr(0, start)) + std::string(credentials.substr(0, colon)) +
         (colon == std::string_view::npos ? "" : ":***") + std::string(uri.substr(at));
}

}  // namespace redlock::config
