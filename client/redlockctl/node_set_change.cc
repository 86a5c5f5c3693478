#include "client/redlockctl/node_set_change.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <set>
#include <stdexcept>

namespace redlockctl {
namespace {

namespace v1 = redlock::v1;
using std::chrono::system_clock;

constexpr double kMinMaxTtlMs = 100;
constexpr double kMaxMaxTtlMs = 24 * 3'600'000;
// The time that a daemon reports for a wait varies by the duration of its calls.
constexpr auto kSameTime = std::chrono::seconds(2);

void CheckNode(const std::string& node) {
  if (node.empty()) throw std::invalid_argument("the name of a node is empty");
  if (node.find("://") == std::string::npos) return;
  const auto at = node.rfind('@');  // do not print a password
  const std::string address = node.substr(at != std::string::npos ? at + 1 : node.find("://") + 3);
  throw std::invalid_argument("node " + address +
                              ": name it without a scheme and without credentials, as `redlockctl "
                              "status` shows it");
}

system_clock::time_point After(const google::protobuf::Duration& wait) {
  return system_clock::now() + std::chrono::seconds(wait.seconds()) +
         std::chrono::duration_cast<system_clock::duration>(std::chrono::nanoseconds(wait.nanos()));
}

std::string LocalTime(system_clock::time_point when) {
  // Not before the wait is over.
  const std::time_t seconds =
      system_clock::to_time_t(std::chrono::ceil<std::chrono::seconds>(when));
  std::tm local{};
  localtime_r(&seconds, &local);
  std::array<char, 16> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%H:%M:%S", &local);
  return {text.data(), size};
}

bool Waits(const google::protobuf::Duration& wait) {
  return wait.seconds() > 0 || (wait.seconds() == 0 && wait.nanos() > 0);
}

std::string Text(const google::protobuf::Duration& duration) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%g s",
                static_cast<double>(duration.seconds()) + duration.nanos() / 1e9);
  return text.data();
}

std::string Steps(int count) { return std::to_string(count) + (count == 1 ? " step" : " steps"); }

}  // namespace

v1::ChangeNodeSetRequest RequestFor(const NodeSetChange& change) {
  std::set<std::string> named;
  v1::ChangeNodeSetRequest request;
  for (const auto* const nodes : {&change.remove, &change.add}) {
    for (const std::string& node : *nodes) {
      CheckNode(node);
      if (!named.insert(node).second) {
        throw std::invalid_argument("node " + node + " is named twice");
      }
    }
  }
  request.mutable_add()->Assign(change.add.begin(), change.add.end());
  request.mutable_remove()->Assign(change.remove.begin(), change.remove.end());
  request.set_abort(change.abort);
  request.set_init(change.init);
  if (!change.max_ttl) return request;
  const double ms = change.max_ttl->count();
  if (!(ms >= kMinMaxTtlMs && ms <= kMaxMaxTtlMs && std::floor(ms) == ms)) {
    throw std::invalid_argument("the longest TTL must be from 100ms to 24h, in whole milliseconds");
  }
  const auto whole_ms = static_cast<std::int64_t>(ms);
  request.mutable_max_ttl()->set_seconds(whole_ms / 1000);
  request.mutable_max_ttl()->set_nanos(static_cast<std::int32_t>(whole_ms % 1000 * 1'000'000));
  return request;
}

std::string TimeAfter(const google::protobuf::Duration& wait) { return LocalTime(After(wait)); }

ChangeProgress::ChangeProgress(const v1::ChangeNodeSetRequest& request) : request_(request) {}

std::vector<std::string> ChangeProgress::Next(const v1::ChangeNodeSetResponse& response) {
  std::vector<std::string> lines;
  if (std::string step = StepLine(response); !step.empty()) lines.push_back(std::move(step));
  if (response.message() != shown_message_ && !response.message().empty()) {
    lines.push_back("waiting: " + response.message());
  }
  shown_message_ = response.message();
  last_ = response;
  return lines;
}

std::string ChangeProgress::StepLine(const v1::ChangeNodeSetResponse& response) {
  const v1::NodeSet& set = response.node_set();
  const int left = response.steps() - response.steps_done();
  // Done() shows the last step.
  if (set.set_id().empty() || left <= 0) return "";
  std::optional<WallTime> time;
  if (Waits(set.wait())) time = After(set.wait());
  const bool same_step = last_ && last_->node_set().epoch() == set.epoch() &&
                         last_->steps_done() == response.steps_done() &&
                         last_->steps() == response.steps();
  const bool same_time =
      !time || (shown_time_ && std::chrono::abs(*time - *shown_time_) <= kSameTime);
  if (same_step && same_time) return "";
  shown_time_ = time;
  std::string line = "epoch " + std::to_string(set.epoch()) + " in force: ";
  if (response.steps_done() == 0) {
    line += Steps(response.steps()) + " to do";
  } else {
    line += "step " + std::to_string(response.steps_done()) + " of " +
            std::to_string(response.steps()) + " done";
  }
  if (time) line += "; the next one can be decided at " + LocalTime(*time);
  return line;
}

std::string ChangeProgress::Done() const {
  const v1::NodeSet& set = last_->node_set();
  std::string line = "done: epoch " + std::to_string(set.epoch()) + ", members";
  std::set<std::string> names;
  for (const v1::NodeSetMember& member : set.members()) names.insert(member.name());
  for (const std::string& name : names) line += " " + name;
  if (request_.has_max_ttl()) line += ", max_ttl " + Text(set.max_ttl());
  return line;
}

std::string ChangeProgress::Outlook() const {
  if (request_.init()) return "the node set may still be created; see: redlockctl nodes list";
  if (request_.abort()) return "the change may still be undone; see: redlockctl nodes list";
  const bool stored =
      last_ && (last_->steps_done() > 0 || last_->node_set().wanted_add_size() > 0 ||
                last_->node_set().wanted_remove_size() > 0);
  if (stored) {
    return "the change goes on; see: redlockctl nodes list; undo it with: redlockctl nodes abort";
  }
  return "the change goes on if its first step is decided, because the nodes then store it; see: "
         "redlockctl nodes list; undo it with: redlockctl nodes abort";
}

}  // namespace redlockctl
