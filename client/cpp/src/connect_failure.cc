#include "client/cpp/src/connect_failure.h"

#include <algorithm>
#include <array>

namespace redlock::client {
namespace {

// The texts with which gRPC 1.51 begins the message of a call that found no connection.
constexpr std::string_view kNotConnected = "failed to connect to all addresses";
constexpr std::string_view kNotResolved = "DNS resolution failed";

// Whether a row is for channels with TLS.
enum class With { kBoth, kTls, kPlain };
// Whether a TLS handshake with the server may tell more.
enum class Probe { kNo, kYes };

struct Row {
  std::string_view part;  // of gRPC's text
  With with;
  Probe probe;
  std::string_view words;  // "{}" stands for the time after which gRPC gives up
};

// The first row that matches counts. gRPC takes some parts from the operating system or OpenSSL.
constexpr auto kRows = std::to_array<Row>({
    {kNotResolved, With::kBoth, Probe::kNo,
     "the name does not resolve to an address: check the spelling and the DNS server"},
    {"Connection refused", With::kBoth, Probe::kNo,
     "the connection was refused: no daemon listens at this address"},
    {"No such file or directory", With::kBoth, Probe::kNo,
     "the socket does not exist: no daemon listens there, or the path is wrong"},
    {"Permission denied", With::kBoth, Probe::kNo,
     "this user has no permission to connect to the socket"},
    {"Too many open files", With::kBoth, Probe::kNo,
     "this process has no free file descriptor: raise its limit (ulimit -n)"},
    {"No route to host", With::kBoth, Probe::kNo, "the network has no route to the host"},
    {"Network is unreachable", With::kBoth, Probe::kNo, "the network has no route to the host"},
    {"tcp handshaker shutdown", With::kBoth, Probe::kNo,
     "no answer within {}: the host is down or far away, or a firewall drops the packets"},
    {"Connection timed out", With::kBoth, Probe::kNo,
     "no answer within {}: the host is down or far away, or a firewall drops the packets"},
    {"before receiving SETTINGS frame", With::kBoth, Probe::kNo,
     "no answer within {}: the connection was accepted, but the server is slow, hangs, or is not a "
     "redlockd"},
    {"Handshake read failed", With::kTls, Probe::kNo,
     "no answer to the TLS handshake within {}: the server is slow, hangs, or does not speak TLS"},
    {"wrong version number", With::kTls, Probe::kNo,
     "the client uses TLS, but the server does not speak TLS"},
    {"packet length too long", With::kTls, Probe::kNo,
     "the client uses TLS, but the server does not speak TLS"},
    {"http1.x server", With::kBoth, Probe::kNo,
     "the server speaks HTTP/1, so it is not a redlockd: check the port"},
    {"is not in peer certificate", With::kTls, Probe::kNo,
     "the server's TLS certificate is not valid for this name: connect to a name or address that "
     "the certificate contains"},
    {"certificate verify failed", With::kTls, Probe::kYes,
     "the server's TLS certificate is not valid: it has expired, or a CA issued it that the client "
     "does not trust"},
    {"alert", With::kTls, Probe::kYes,
     "the server refused the TLS handshake: it needs a client certificate, or refuses this one"},
    {"Endpoint read failed", With::kTls, Probe::kYes,
     "the server ended the connection after the TLS handshake: it may need a client certificate, "
     "or refuse this one"},
    {"Ssl handshake failed", With::kTls, Probe::kYes, "the TLS handshake failed"},
    {"Failed parsing HTTP/2", With::kPlain, Probe::kYes,
     "the server does not speak HTTP/2, so it is not a redlockd: check the port"},
    {"Connection reset", With::kBoth, Probe::kYes,
     "the server closed the connection at once: it refuses connections, or is not a redlockd"},
    {"Socket closed", With::kBoth, Probe::kYes,
     "the server closed the connection at once: it refuses connections, or is not a redlockd"},
});

std::string Fill(std::string_view words, Duration connect_timeout) {
  std::string filled(words);
  const auto gap = filled.find("{}");
  if (gap != std::string::npos) filled.replace(gap, 2, InWords(connect_timeout));
  return filled;
}

// Undoes the percent-encoding of brackets, which gRPC uses for IPv6.
std::string Decoded(std::string address) {
  for (const auto& [code, character] : {std::pair("%5B", "["), std::pair("%5D", "]")}) {
    const auto found = address.find(code);
    if (found != std::string::npos) address.replace(found, 3, character);
  }
  return address;
}

}  // namespace

bool IsConnectFailure(std::string_view text) {
  return text.starts_with(kNotConnected) || text.starts_with(kNotResolved);
}

ConnectFailure Translate(std::string_view text, bool tls, Duration connect_timeout) {
  if (!IsConnectFailure(text)) return {};
  const auto applies = [&](const Row& row) {
    const bool channel = row.with == With::kBoth || (row.with == With::kTls) == tls;
    return channel && text.find(row.part) != std::string_view::npos;
  };
  const auto* const row = std::find_if(kRows.begin(), kRows.end(), applies);
  if (row == kRows.end()) return {"the connection failed", tls};
  return {Fill(row->words, connect_timeout), row->probe == Probe::kYes};
}

std::string AddressIn(std::string_view text) {
  for (const std::string_view family : {"ipv4:", "ipv6:"}) {
    auto begin = text.rfind(family);
    if (begin == std::string_view::npos) continue;
    begin += family.size();
    return Decoded(std::string(text.substr(begin, text.find(": ", begin) - begin)));
  }
  return {};
}

}  // namespace redlock::client
