// Prints the output of redlockctl: text for people, or one JSON object per line for programs.
#pragma once

#include <redlock/observer.h>

#include <string>
#include <vector>

#include "client/redlockctl/failure.h"
#include "client/redlockctl/new_token.h"
#include "proto/grpc/health/v1/health.pb.h"
#include "proto/redlock/v1/admin_service.pb.h"
#include "proto/redlock/v1/lock_service.pb.h"

namespace redlockctl {

// In milliseconds.
struct Quantiles {
  double p50, p99, p999;
};

struct BenchReport {
  int callers = 0;
  bool one_key = false;
  double seconds = 0;
  std::size_t cycles = 0;  // pairs of acquire and release
  Quantiles acquire_ms, cycle_ms;
};

// Text shows control characters escaped. Results go to standard output, failures to standard error.
// With JSON, both go to standard output.
class Printer {
 public:
  // Text has colours if standard output is a terminal and NO_COLOR is not set.
  explicit Printer(bool json);

  void Print(const redlock::v1::AcquireResponse& response) const;
  void Print(const redlock::v1::ExtendResponse& response) const;
  void PrintReleased(const std::string& key, const redlock::v1::ReleaseResponse& response) const;
  void PrintProclaimed(const std::string& key, const redlock::v1::ProclaimResponse& response) const;
  // One line, which is flushed.
  void Print(const std::string& key, const redlock::client::KeyState& state) const;
  void PrintInspected(const std::string& key, const redlock::v1::InspectResponse& response) const;
  // Prints what several daemons answered about one key. With JSON, one line for each answer.
  void PrintWho(const std::string& key,
                const std::vector<redlock::v1::InspectResponse>& answers) const;
  void Print(const redlock::v1::ListNodesResponse& response) const;
  void Print(const redlock::v1::GetNodeSetResponse& response) const;
  // Prints the response, or as text the lines about it.
  void Print(const redlock::v1::ChangeNodeSetResponse& response,
             const std::vector<std::string>& lines) const;
  void Print(const redlock::v1::WatchResponse& event) const;
  void Print(const redlock::v1::HoldResponse& event) const;
  void Print(const grpc::health::v1::HealthCheckResponse& response) const;
  void Print(const redlock::v1::ListLeasesResponse& page) const;
  void Print(const std::string& key, const redlock::v1::ForceReleaseResponse& response) const;
  void Print(const std::string& level, const redlock::v1::SetLogLevelResponse& response) const;
  void Print(const NewToken& made) const;
  void Print(const BenchReport& report) const;
  void Print(const Failure& failure) const;
  // A line for people on standard output. Nothing with JSON.
  void PrintText(const std::string& line) const;
  // A line for people on standard error, also with JSON.
  void PrintNotice(const std::string& line) const;

  // The progress line, shown on standard error while an acquire waits. Each call overwrites it. Not
  // shown if standard error is not a terminal, or with JSON.
  [[nodiscard]] bool shows_progress() const { return progress_; }
  void PrintQueued(const std::string& key, int position) const;
  void PrintWaiting(const std::string& key, const redlock::v1::InspectResponse& seen) const;
  void ClearProgress() const;

 private:
  void PrintJson(const google::protobuf::Message& message) const;
  void PrintProgress(const std::string& line) const;
  // The state in words and in its colour.
  [[nodiscard]] std::string Coloured(redlock::v1::NodeState state) const;
  // The text in the colour, if colours are on.
  [[nodiscard]] std::string Coloured(const char* colour, const std::string& text) const;

  bool json_;
  bool colours_;
  bool progress_;
};

}  // namespace redlockctl
