// Translates gRPC's texts about failed connections into plain words.
#pragma once

#include <string>
#include <string_view>

#include "client/cpp/core/time.h"

namespace redlock::client {

struct ConnectFailure {
  // What failed, and what to do; empty if the text is not about a failed connection.
  std::string words;
  // The text has several possible causes, which a TLS handshake with the server tells apart.
  bool probe = false;
};

// Whether a call with this message found no connection, so that no daemon has received it.
[[nodiscard]] bool IsConnectFailure(std::string_view text);

// `text`: the message of a status with which gRPC ended a call. `tls`: the channel uses TLS.
// `connect_timeout`: the time after which gRPC gives up connecting.
[[nodiscard]] ConnectFailure Translate(std::string_view text, bool tls, Duration connect_timeout);

// Returns the address that gRPC tried last, such as "127.0.0.1:50051" or "[::1]:50051"; empty if
// the text does not contain one.
[[nodiscard]] std::string AddressIn(std::string_view text);

}  // namespace redlock::client
