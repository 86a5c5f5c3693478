// A change of the node set, as the arguments of `redlockctl nodes` ask for it and as its progress
// is shown to people.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "proto/redlock/v1/admin_service.pb.h"

namespace redlockctl {

// What the arguments ask for. One command sets some of the fields.
struct NodeSetChange {
  std::vector<std::string> add;
  std::vector<std::string> remove;
  std::optional<std::chrono::duration<double, std::milli>> max_ttl;
  bool abort = false;
  bool init = false;
};

// Throws std::invalid_argument if a node is named twice, is not an address or an id, or if the
// longest TTL is out of range.
[[nodiscard]] redlock::v1::ChangeNodeSetRequest RequestFor(const NodeSetChange& change);

// The local time at which `wait` is over: "12:31:07".
[[nodiscard]] std::string TimeAfter(const google::protobuf::Duration& wait);

// Turns the responses of one ChangeNodeSet call into lines of text. Leaves out what the lines
// before have shown.
class ChangeProgress {
 public:
  explicit ChangeProgress(const redlock::v1::ChangeNodeSetRequest& request);

  // The lines for the next response. Empty if it has nothing new.
  [[nodiscard]] std::vector<std::string> Next(const redlock::v1::ChangeNodeSetResponse& response);
  // The line after the last response of a complete change.
  [[nodiscard]] std::string Done() const;
  [[nodiscard]] bool HasResponse() const { return last_.has_value(); }
  // What becomes of the change if the caller no longer follows it, and what to do.
  [[nodiscard]] std::string Outlook() const;

 private:
  using WallTime = std::chrono::system_clock::time_point;

  // Empty if the step is not new.
  [[nodiscard]] std::string StepLine(const redlock::v1::ChangeNodeSetResponse& response);

  const redlock::v1::ChangeNodeSetRequest request_;
  std::optional<redlock::v1::ChangeNodeSetResponse> last_;
  std::optional<WallTime> shown_time_;  // at which the next step can be decided
  std::string shown_message_;
};

}  // namespace redlockctl
