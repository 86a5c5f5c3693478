#include "client/cpp/src/diagnosis.h"

#include "client/cpp/core/endpoint.h"
#include "client/cpp/src/channel.h"
#include "client/cpp/src/connect_failure.h"
#include "client/cpp/src/tls_probe.h"

namespace redlock::client {
namespace {

// Returns what a TLS handshake shows; empty if it shows nothing new.
std::string Probe(const std::string& address, const std::string& endpoint, const Options& options,
                  Duration patience) {
  const TlsProbe probe = ProbeTls(address, HostName(endpoint), options, patience);
  if (UsesTls(endpoint, options)) return probe.problem;
  return probe.speaks_tls ? "the server speaks TLS, but the client is configured without TLS" : "";
}

}  // namespace

std::string Diagnose(const grpc::Status& status, const std::string& endpoint,
                     const Options& options, Duration patience) {
  const std::string& text = status.error_message();
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return text;
  const ConnectFailure failure =
      Translate(text, UsesTls(endpoint, options), options.connect_timeout);
  if (failure.words.empty()) return text;
  const std::string address = AddressIn(text);
  std::string found;
  if (failure.probe && patience > Duration::zero() && !address.empty()) {
    found = Probe(address, endpoint, options, patience);
  }
  return (found.empty() ? failure.words : found) + " (" + text + ")";
}

}  // namespace redlock::client
