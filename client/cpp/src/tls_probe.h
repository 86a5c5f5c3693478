// Finds out why a TLS connection fails. gRPC 1.51 reports most causes only in its log.
#pragma once

#include <string>

#include "client/cpp/core/time.h"
#include "client/cpp/include/redlock/client.h"

namespace redlock::client {

struct TlsProbe {
  bool speaks_tls = false;  // the server answered with a TLS message
  std::string problem;      // why the handshake fails; empty: it succeeds, or there was no answer
};

// Makes one connection to `address` ("127.0.0.1:50051" or "[::1]:50051"), and a TLS handshake with
// the files of `options`. Blocks for at most `patience`. `host` is the name that the server needs
// if it has several certificates; empty: none.
[[nodiscard]] TlsProbe ProbeTls(const std::string& address, const std::string& host,
                                const Options& options, Duration patience);

}  // namespace redlock::client
