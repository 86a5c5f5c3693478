#include "client/redlockctl/printer.h"

#include <google/protobuf/util/json_util.h>
#include <google/protobuf/wrappers.pb.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "client/redlockctl/message_json.h"
#include "client/redlockctl/node_set_change.h"
#include "client/redlockctl/shown.h"

namespace redlockctl {
namespace {

namespace v1 = redlock::v1;
using redlock::client::HolderState;

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + static_cast<double>(duration.nanos()) / 1e9;
}

double Millis(const google::protobuf::Duration& duration) { return Seconds(duration) * 1e3; }

// "VOTE_OUTCOME_NOT_HELD" -> "not held".
std::string Words(std::string_view name, std::string_view prefix) {
  std::string words(name.substr(name.starts_with(prefix) ? prefix.size() : 0));
  for (char& c : words) c = c == '_' ? ' ' : static_cast<char>(std::tolower(c));
  return words;
}

void PrintVotes(std::FILE* out, const google::protobuf::RepeatedPtrField<v1::Vote>& votes) {
  for (const v1::Vote& vote : votes) {
    std::fprintf(out, "  node %s: %s in %.1f ms%s%s\n", vote.node().c_str(),
                 Words(v1::VoteOutcome_Name(vote.outcome()), "VOTE_OUTCOME_").c_str(),
                 Millis(vote.latency()), vote.message().empty() ? "" : ": ",
                 vote.message().c_str());
  }
}

// The key of a message, or all its keys.
std::string KeysOf(const auto& message) {
  return message.keys().empty() ? message.key() : Listed(message.keys());
}

// For the end of a line, if the message is about a slot of a semaphore.
std::string SlotOf(const auto& message) {
  if (message.slot() == 0) return "";
  return ", slot " + std::to_string(message.slot()) + " of " +
         std::to_string(message.max_holders());
}

// "web-1/7/app, billing at ipv4:10.0.0.7:4711". "(unknown)" if nothing is known.
std::string NameOf(const auto& caller) {
  std::string name = caller.owner();
  const std::string from = caller.identity().empty() || caller.peer().empty()
                               ? caller.identity() + caller.peer()
                               : caller.identity() + " at " + caller.peer();
  if (!name.empty() && !from.empty()) name += ", ";
  name += from;
  return name.empty() ? "(unknown)" : name;
}

void PrintHolder(const v1::Holder& holder, int limit) {
  std::printf("  held by        %s", NameOf(holder).c_str());
  if (!holder.daemon().empty()) std::printf(", through %s", holder.daemon().c_str());
  std::printf("\n");
  if (holder.slot() != 0) std::printf("    slot           %d of %d\n", holder.slot(), limit);
  if (!holder.value().empty()) std::printf("    value          %s\n", holder.value().c_str());
  if (holder.has_held_for()) {
    std::printf("    held for       %.3f s\n", Seconds(holder.held_for()));
  }
  std::printf("    fencing token  %llu\n    free in        at most %.3f s\n",
              static_cast<unsigned long long>(holder.fencing_token()), Seconds(holder.remaining()));
}

void PrintWaiter(const v1::Waiter& waiter) {
  std::printf("  waiting        %s", NameOf(waiter).c_str());
  if (waiter.mode() == v1::LOCK_MODE_SHARED) std::printf(", shared");
  if (waiter.max_holders() != 0) std::printf(", for 1 of %d slots", waiter.max_holders());
  std::printf(", for %.3f s\n", Seconds(waiter.waited()));
}

// Prints what the nodes report about the key.
void PrintState(const std::string& key, const v1::InspectResponse& response) {
  if (response.held()) {
    const bool shared = response.mode() == v1::LOCK_MODE_SHARED;
    std::printf("%s is %s\n", Shown(key).c_str(),
                response.max_holders() != 0 ? "a semaphore"
                : shared                    ? "shared"
                                            : "held");
    if (response.max_holders() != 0) {
      std::printf("  slots taken    %d of %d\n", response.holders(), response.max_holders());
    } else if (shared) {
      std::printf("  holders        %d\n", response.holders());
    }
    for (const v1::Holder& holder : response.held_by()) {
      PrintHolder(holder, response.max_holders());
    }
  } else if (response.undecided()) {
    std::printf("%s may be held: too few nodes can tell\n", Shown(key).c_str());
  } else if (response.has_kept_for()) {
    std::printf("%s is kept: nobody holds it, and nobody gets it for another %.3f s\n",
                Shown(key).c_str(), Seconds(response.kept_for()));
  } else {
    std::printf("%s is free\n", Shown(key).c_str());
  }
}

void Set(google::protobuf::Duration& out, redlock::client::Duration duration) {
  out.set_seconds(duration.count() / 1'000'000'000);
  out.set_nanos(static_cast<std::int32_t>(duration.count() % 1'000'000'000));
}

// As a daemon sends it.
v1::ObserveResponse ToProto(const redlock::client::KeyState& state) {
  v1::ObserveResponse out;
  switch (state.state) {
    case HolderState::kHeld:
      out.set_state(v1::HOLDER_STATE_HELD);
      break;
    case HolderState::kVacant:
      out.set_state(v1::HOLDER_STATE_VACANT);
      break;
    case HolderState::kUndecided:
      out.set_state(v1::HOLDER_STATE_UNDECIDED);
      break;
  }
  out.set_holders(state.holders);
  out.set_owner(state.owner);
  out.set_value(state.value);
  out.set_fencing_token(state.fencing_token);
  if (state.held_for) Set(*out.mutable_held_for(), *state.held_for);
  if (state.state == HolderState::kHeld) Set(*out.mutable_remaining(), state.remaining);
  for (const redlock::client::Holder& holder : state.held_by) {
    v1::Holder& added = *out.add_held_by();
    added.set_owner(holder.owner);
    added.set_identity(holder.identity);
    added.set_peer(holder.peer);
    added.set_daemon(holder.daemon);
    added.set_fencing_token(holder.fencing_token);
    added.set_slot(holder.slot);
    if (holder.held_for) Set(*added.mutable_held_for(), *holder.held_for);
    Set(*added.mutable_remaining(), holder.remaining);
    added.set_value(holder.value);
  }
  if (state.shared) out.set_mode(v1::LOCK_MODE_SHARED);
  out.set_max_holders(state.max_holders);
  if (state.kept_for > redlock::client::Duration::zero()) {
    Set(*out.mutable_kept_for(), state.kept_for);
  }
  out.set_message(state.error.message);
  return out;
}

// "is held by web-1/7/app at ipv4:10.0.0.7:4711, value 10.0.0.7:80, fencing token 12".
std::string WordsFor(const v1::ObserveResponse& state) {
  if (state.state() == v1::HOLDER_STATE_UNDECIDED) {
    return "may be held (undecided): " + state.message();
  }
  if (state.state() == v1::HOLDER_STATE_VACANT) {
    if (!state.has_kept_for()) return "is free";
    std::array<char, 32> time{};
    std::snprintf(time.data(), time.size(), "%.3f s", Seconds(state.kept_for()));
    return std::string("is kept for another ") + time.data();
  }
  std::string words;
  if (state.max_holders() != 0) {
    words = "is a semaphore, " + std::to_string(state.holders()) + " of " +
            std::to_string(state.max_holders()) + " slots taken";
  } else if (state.mode() == v1::LOCK_MODE_SHARED) {
    words = "is shared by " + std::to_string(state.holders());
  } else {
    words = "is held by " + (state.held_by().empty() ? "(unknown)" : NameOf(state.held_by(0)));
    if (!state.value().empty()) words += ", value " + state.value();
  }
  return words + ", fencing token " + std::to_string(state.fencing_token());
}

void PrintLease(const v1::Lease& lease) {
  if (lease.slot() != 0) {
    std::printf("  slot           %d of %d\n", lease.slot(), lease.max_holders());
  }
  std::printf("  token          %s\n  fencing token  %llu\n  valid for      %.3f s\n",
              lease.token().c_str(), static_cast<unsigned long long>(lease.fencing_token()),
              Seconds(lease.validity()));
}

std::string JsonText(const std::string& text) {
  google::protobuf::StringValue value;
  value.set_value(text);
  std::string json;
  (void)google::protobuf::util::MessageToJsonString(value, &json);
  return json;
}

// The change that is under way, and when the next one can be decided.
void PrintChange(const v1::NodeSet& set) {
  if (set.wanted_add_size() + set.wanted_remove_size() > 0) std::printf("change under way\n");
  for (const std::string& name : set.wanted_add())
    std::printf("  %-24s to be added\n", name.c_str());
  for (const std::string& id : set.wanted_remove()) {
    const auto member =
        std::find_if(set.members().begin(), set.members().end(),
                     [&id](const v1::NodeSetMember& one) { return one.id() == id; });
    const std::string name = member == set.members().end() ? "" : member->name();
    std::printf("  %-24s %s to be removed\n", name.c_str(), id.c_str());
  }
  if (Seconds(set.wait()) > 0) {
    std::printf("the next change can be decided at %s\n", TimeAfter(set.wait()).c_str());
  }
}

constexpr const char* kGreen = "32";
constexpr const char* kYellow = "33";
constexpr const char* kRed = "31";

const char* ColourOf(v1::NodeState state) {
  if (state == v1::NODE_STATE_UP) return kGreen;
  const bool answers = state == v1::NODE_STATE_QUARANTINED || state == v1::NODE_STATE_NOT_MEMBER;
  return answers ? kYellow : kRed;
}

// Follows the state. The reason of a quarantine continues it: "quarantined for another 2 s".
std::string Reason(const std::string& message) {
  if (message.empty()) return "";
  return (message.starts_with("for ") ? " " : ": ") + message;
}

const char* WordsFor(v1::NodeState state) {
  switch (state) {
    case v1::NODE_STATE_UP:
      return "up";
    case v1::NODE_STATE_QUARANTINED:
      return "quarantined";
    case v1::NODE_STATE_NOT_MEMBER:
      return "not a member";
    case v1::NODE_STATE_DOWN:
      return "down";
    default:
      return "unknown";
  }
}

}  // namespace

Printer::Printer(bool json)
    : json_(json),
      colours_(!json && isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr),
      progress_(!json && isatty(STDERR_FILENO) != 0) {}

std::string Printer::Coloured(const char* colour, const std::string& text) const {
  return colours_ ? std::string("\033[") + colour + "m" + text + "\033[0m" : text;
}

std::string Printer::Coloured(v1::NodeState state) const {
  return Coloured(ColourOf(state), WordsFor(state));
}

void Printer::PrintProgress(const std::string& line) const {
  if (!progress_) return;
  std::fprintf(stderr, "\r\033[K%s", Shown(line).c_str());
  std::fflush(stderr);
}

void Printer::ClearProgress() const { PrintProgress(""); }

void Printer::PrintQueued(const std::string& key, int position) const {
  PrintProgress("waiting for " + key +
                (position == 0 ? ", next in line" : ", " + std::to_string(position) + " ahead"));
}

void Printer::PrintWaiting(const std::string& key, const v1::InspectResponse& seen) const {
  if (!seen.held()) return PrintProgress("waiting for " + key);
  const std::string holders = std::to_string(seen.holders());
  const std::string by =
      seen.max_holders() != 0
          ? holders + " of " + std::to_string(seen.max_holders()) + " slots taken"
      : seen.mode() == v1::LOCK_MODE_SHARED ? "shared by " + holders
      : seen.owner().empty()                ? "held by a holder without a label"
                                            : "held by " + seen.owner();
  PrintProgress("waiting for " + key + ", " + by + ", " + std::to_string(seen.waiters()) +
                " waiting at this daemon");
}

void Printer::Print(const BenchReport& report) const {
  const double rate = static_cast<double>(report.cycles) / report.seconds;
  if (json_) {
    std::printf(
        R"({"callers":%d,"one_key":%s,"seconds":%.3f,"cycles":%zu,"cycles_per_second":%.1f,)"
        R"("acquire_ms":{"p50":%.3f,"p99":%.3f,"p999":%.3f},)"
        R"("cycle_ms":{"p50":%.3f,"p99":%.3f,"p999":%.3f}})"
        "\n",
        report.callers, report.one_key ? "true" : "false", report.seconds, report.cycles, rate,
        report.acquire_ms.p50, report.acquire_ms.p99, report.acquire_ms.p999, report.cycle_ms.p50,
        report.cycle_ms.p99, report.cycle_ms.p999);
    return;
  }
  std::printf("%.0f locks acquired and released per second, by %d callers %s, for %.1f s\n", rate,
              report.callers, report.one_key ? "of one key" : "with one key each", report.seconds);
  std::printf("  acquire        p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms\n", report.acquire_ms.p50,
              report.acquire_ms.p99, report.acquire_ms.p999);
  std::printf("  with release   p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms\n", report.cycle_ms.p50,
              report.cycle_ms.p99, report.cycle_ms.p999);
}

void Printer::PrintJson(const google::protobuf::Message& message) const {
  std::printf("%s\n", ToJson(message).c_str());
  std::fflush(stdout);
}

void Printer::Print(const v1::AcquireResponse& received) const {
  if (json_) return PrintJson(received);
  const auto response = ShownMessage(received);
  std::printf("acquired %s\n", KeysOf(response.lease()).c_str());
  PrintLease(response.lease());
  if (response.attempts() > 1) {
    std::printf("  waited         %.3f s, %d attempts\n", Seconds(response.waited()),
                response.attempts());
  }
}

void Printer::Print(const v1::ExtendResponse& received) const {
  if (json_) return PrintJson(received);
  const auto response = ShownMessage(received);
  std::printf("extended %s\n", KeysOf(response.lease()).c_str());
  PrintLease(response.lease());
}

void Printer::PrintReleased(const std::string& key, const v1::ReleaseResponse& response) const {
  if (json_) return PrintJson(response);
  std::printf("released %s\n", Shown(key).c_str());
}

void Printer::PrintProclaimed(const std::string& key, const v1::ProclaimResponse& response) const {
  if (json_) return PrintJson(response);
  std::printf("proclaimed the value of %s\n", Shown(key).c_str());
}

void Printer::Print(const std::string& key, const redlock::client::KeyState& state) const {
  const v1::ObserveResponse response = ToProto(state);
  if (json_) return PrintJson(response);
  PrintText(key + " " + WordsFor(response));
}

void Printer::PrintInspected(const std::string& key, const v1::InspectResponse& received) const {
  if (json_) return PrintJson(received);
  const auto response = ShownMessage(received);
  PrintState(key, response);
  if (!response.held() && response.fencing_token() != 0) {
    std::printf("  fencing token  %llu\n",
                static_cast<unsigned long long>(response.fencing_token()));
  }
  for (const v1::Waiter& waiter : response.waiting()) PrintWaiter(waiter);
  std::printf("  waiting here   %d\n", response.waiters());
  PrintVotes(stdout, response.votes());
}

void Printer::PrintWho(const std::string& key,
                       const std::vector<v1::InspectResponse>& answers) const {
  if (json_) {
    for (const v1::InspectResponse& answer : answers) PrintJson(answer);
    return;
  }
  // Every daemon asks the same nodes; the best answer is one that could tell.
  const auto best = std::ranges::min_element(answers, {}, [](const v1::InspectResponse& answer) {
    return answer.held() ? 0 : answer.undecided() ? 2 : 1;
  });
  PrintState(key, ShownMessage(*best));
  for (const v1::InspectResponse& answer : answers) {
    const auto shown = ShownMessage(answer);
    if (shown.waiters() == 0) continue;
    std::printf("at %s\n", shown.daemon().c_str());
    for (const v1::Waiter& waiter : shown.waiting()) PrintWaiter(waiter);
    if (shown.waiters() > shown.waiting_size()) {
      std::printf("  and %d more\n", shown.waiters() - shown.waiting_size());
    }
  }
}

void Printer::Print(const v1::ListNodesResponse& received) const {
  if (json_) return PrintJson(received);
  const auto response = ShownMessage(received);
  int up = 0;
  for (const v1::Node& node : response.nodes()) up += node.state() == v1::NODE_STATE_UP ? 1 : 0;
  std::printf("%d of %d nodes are up; the quorum is %d\n", up, response.nodes_size(),
              response.quorum());
  for (const v1::Node& node : response.nodes()) {
    std::printf("  %-24s %s", node.name().c_str(), Coloured(node.state()).c_str());
    if (node.state() == v1::NODE_STATE_UP) {
      std::printf(" (%.1f ms%s%s)", Seconds(node.latency()) * 1e3,
                  node.version().empty() ? "" : ", version ", node.version().c_str());
    }
    std::printf("%s\n", Reason(node.message()).c_str());
  }
}

void Printer::Print(const v1::GetNodeSetResponse& received) const {
  if (json_) return PrintJson(received);
  const auto response = ShownMessage(received);
  const v1::NodeSet& set = response.node_set();
  if (set.set_id().empty()) {
    std::printf("no node set found\n");
  } else {
    std::printf("node set %s, epoch %llu\n", set.set_id().c_str(),
                static_cast<unsigned long long>(set.epoch()));
    std::printf("  max_ttl          %g s\n  fence_retention  %g s\n", Seconds(set.max_ttl()),
                Seconds(set.fence_retention()));
    std::printf("%d members; the quorum is %d\n", set.members_size(), set.quorum());
  }
  for (const v1::NodeSetMember& member : set.members()) {
    std::printf("  %-24s %s %s%s\n", member.name().c_str(), member.id().c_str(),
                Coloured(member.state()).c_str(), Reason(member.message()).c_str());
  }
  if (set.others_size() > 0) std::printf("configured nodes without a vote\n");
  for (const v1::Node& node : set.others()) {
    std::printf("  %-24s %s%s\n", node.name().c_str(), Coloured(node.state()).c_str(),
                Reason(node.message()).c_str());
  }
  PrintChange(set);
  if (!set.trouble().empty()) std::printf("trouble: %s\n", set.trouble().c_str());
}

void Printer::Print(const v1::ChangeNodeSetResponse& response,
                    const std::vector<std::string>& lines) const {
  if (json_) return PrintJson(response);
  for (const std::string& line : lines) PrintText(line);
}

void Printer::PrintText(const std::string& line) const {
  if (json_) return;
  std::printf("%s\n", Shown(line).c_str());
  std::fflush(stdout);
}

void Printer::PrintNotice(const std::string& line) const {
  std::fprintf(stderr, "redlockctl: %s\n", Shown(line).c_str());
}

void Printer::Print(const v1::HoldResponse& received) const {
  if (json_) return PrintJson(received);
  const auto event = ShownMessage(received);
  if (event.type() == v1::EVENT_TYPE_QUEUED) {
    std::printf("queued for %s, %d ahead at this daemon\n", KeysOf(event).c_str(),
                event.position());
    std::fflush(stdout);
    return;
  }
  if (event.type() == v1::EVENT_TYPE_ACQUIRED) {
    std::printf("acquired %s%s, token %s, fencing token %llu, valid for %.3f s\n",
                KeysOf(event).c_str(), SlotOf(event.lease()).c_str(), event.lease().token().c_str(),
                static_cast<unsigned long long>(event.lease().fencing_token()),
                Seconds(event.lease().validity()));
    std::fflush(stdout);
    return;
  }
  v1::WatchResponse other;
  other.set_type(event.type());
  other.set_key(event.key());
  *other.mutable_keys() = event.keys();
  other.set_max_holders(event.max_holders());
  other.set_slot(event.slot());
  if (event.has_lease()) *other.mutable_lease() = event.lease();
  other.set_reason(event.reason());
  other.set_message(event.message());
  *other.mutable_votes() = event.votes();
  other.set_consecutive_failures(event.consecutive_failures());
  Print(other);
}

void Printer::Print(const v1::WatchResponse& received) const {
  if (json_) return PrintJson(received);
  const auto event = ShownMessage(received);
  // The daemon retries more and more often, so text shows only the first failure.
  const bool failed = event.type() == v1::EVENT_TYPE_EXTEND_FAILED;
  if (failed && event.consecutive_failures() > 1) return;
  std::printf("%s %s%s", Words(v1::EventType_Name(event.type()), "EVENT_TYPE_").c_str(),
              KeysOf(event).c_str(), SlotOf(event).c_str());
  const bool holds = event.has_lease() && event.reason().empty();
  if (holds) {
    std::printf(", valid for %.3f s", Seconds(event.lease().validity()));
  } else {
    std::printf(": %s: %s%s", event.reason().c_str(), event.message().c_str(),
                failed ? "; retrying" : "");
  }
  std::printf("\n");
  if (!holds) PrintVotes(stdout, event.votes());
  std::fflush(stdout);
}

void Printer::Print(const grpc::health::v1::HealthCheckResponse& response) const {
  if (json_) {
    PrintJson(response);
  } else {
    using Health = grpc::health::v1::HealthCheckResponse;
    std::printf("%s\n", response.status() == Health::SERVING
                            ? "serving"
                            : "not serving: the daemon is draining or has no quorum of nodes");
  }
}

void Printer::Print(const v1::ListLeasesResponse& received) const {
  if (json_) return PrintJson(received);
  const auto page = ShownMessage(received);
  for (const v1::LeaseEntry& entry : page.entries()) {
    const std::string kind = Words(v1::LeaseKind_Name(entry.kind()), "LEASE_KIND_");
    std::printf("%-32s %-8s", KeysOf(entry).c_str(), kind.c_str());
    if (entry.mode() == v1::LOCK_MODE_SHARED) std::printf(" shared");
    if (entry.slot() != 0) std::printf(" slot %d of %d", entry.slot(), entry.max_holders());
    if (entry.kind() == v1::LEASE_KIND_WAITING) {
      std::printf(" %d ahead, for %.3f s", entry.position(), Seconds(entry.waiter().waited()));
    } else if (entry.kind() == v1::LEASE_KIND_WATCHED) {
      std::printf(" valid for %.3f s", Seconds(entry.validity()));
    }
    if (entry.consecutive_failures() > 0) {
      std::printf(", %d extensions failed", entry.consecutive_failures());
    }
    if (entry.holder().has_held_for()) {
      std::printf(", held for %.3f s", Seconds(entry.holder().held_for()));
    }
    const bool waits = entry.kind() == v1::LEASE_KIND_WAITING;
    std::printf(", %s, at %s\n", (waits ? NameOf(entry.waiter()) : NameOf(entry.holder())).c_str(),
                page.daemon().c_str());
  }
}

void Printer::Print(const std::string& key, const v1::ForceReleaseResponse& received) const {
  if (json_) return PrintJson(received);
  const auto response = ShownMessage(received);
  if (response.released()) {
    std::printf("%s was taken from its holder%s%s\n", Shown(key).c_str(),
                response.owner().empty() ? "" : ", ", response.owner().c_str());
  } else {
    std::printf("%s was not held on any node that answered\n", Shown(key).c_str());
    PrintVotes(stdout, response.votes());
  }
}

void Printer::Print(const std::string& level, const v1::SetLogLevelResponse& response) const {
  if (json_) {
    PrintJson(response);
  } else {
    std::printf("log level is %s, was %s\n", level.c_str(), response.previous().c_str());
  }
}

void Printer::Print(const NewToken& made) const {
  if (json_) {
    std::printf("{\"token\":%s,\"line\":%s}\n", JsonText(made.token).c_str(),
                JsonText(made.line).c_str());
    return;
  }
  std::printf(
      "For the caller (it is not shown again):\n  %s\nFor the daemon's --token-file:\n  %s\n",
      made.token.c_str(), made.line.c_str());
}

void Printer::Print(const Failure& failure) const {
  if (!json_) {
    // The daemon's message already begins with the reason and ends with the votes.
    ClearProgress();
    std::fprintf(stderr, "redlockctl: %s\n", Shown(failure.message).c_str());
    return;
  }
  const long long retry_ms = failure.retry_after ? failure.retry_after->count() : 0;
  std::printf(R"({"error":{"reason":%s,"message":%s,"retry_after_ms":%lld}})"
              "\n",
              JsonText(failure.reason).c_str(), JsonText(failure.message).c_str(), retry_ms);
}

}  // namespace redlockctl
