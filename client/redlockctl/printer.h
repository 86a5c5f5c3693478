// What redlockctl prints: text for people, one JSON object a line for programs.
#pragma once

#include <string>

#include "client/redlockctl/failure.h"
#include "client/redlockctl/new_token.h"
#include "proto/grpc/health/v1/health.pb.h"
#include "proto/redlock/v1/admin_service.pb.h"
#include "proto/redlock/v1/lock_service.pb.h"

namespace redlockctl {

// Results go to standard output, failures to standard error (as JSON: to standard output).
class Printer {
 public:
  explicit Printer(bool json) : json_(json) {}

  void Print(const redlock::v1::AcquireResponse& response) const;
  void Print(const redlock::v1::ExtendResponse& response) const;
  void PrintReleased(const std::string& key, const redlock::v1::ReleaseResponse& response) const;
  void PrintInspected(const std::string& key, const redlock::v1::InspectResponse& response) const;
  void Print(const redlock::v1::ListNodesResponse& response) const;
  void Print(const redlock::v1::WatchResponse& event) const;
  void Print(const redlock::v1::HoldResponse& event) const;
  void Print(const grpc::health::v1::HealthCheckResponse& response) const;
  void Print(const redlock::v1::ListLeasesResponse& page) const;
  void Print(const std::string& key, const redlock::v1::ForceReleaseResponse& response) const;
  void Print(const std::string& level, const redlock::v1::SetLogLevelResponse& response) const;
  void Print(const NewToken& made) const;
  void Print(const Failure& failure) const;

 private:
  void PrintJson(const google::protobuf::Message& message) const;

  bool json_;
};

}  // namespace redlockctl
