#include "server/rpc/connection_guard.h"

#include <grpc/grpc.h>
#include <grpc/support/alloc.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "server/observe/throttle.h"

namespace redlock::rpc {
namespace {

// How long a thread may work within one call of gRPC's before the busiest connection is closed. The
// calls that an honest client may open at once take a third of it. The CPU time shows that the
// thread did work, and did not wait for its turn on a busy machine.
constexpr Duration kLongestStay = std::chrono::seconds(1);
constexpr Duration kLongestStayCpu = std::chrono::milliseconds(100);
// While limits are strict, for unproven connections only.
constexpr Duration kLongestStrictStay = std::chrono::milliseconds(200);
constexpr Duration kLongestStrictStayCpu = std::chrono::milliseconds(20);
constexpr Duration kWorks = std::chrono::milliseconds(1);  // of CPU between two looks
constexpr std::uint64_t kLeastFlood = 64U << 10U;          // bytes read from a connection meanwhile
constexpr Duration kStrictTime = std::chrono::minutes(1);

// Calls are counted each time the memory has grown by this much. A call costs 12 KiB.
constexpr std::size_t kGrowth = std::size_t{16} << 20;
// A client may cancel all its calls and open as many again before the daemon has seen it.
constexpr std::int64_t kMostLive = std::int64_t{2} * ConnectionGuard::kMostCalls;
constexpr std::int64_t kMostTotal =
    std::int64_t{10} * ConnectionGuard::kMostCalls;  // of all connections
// A connection on which no valid request was read, and all of these together. For a short time
// only, as the first requests of an honest client may not have been seen yet.
constexpr std::int64_t kMostUnproven = 1'000;
constexpr std::int64_t kMostUnprovenTotal = 5'000;
constexpr Duration kOverloadPatience = std::chrono::seconds(1);
// An unproven connection has no reason to send more.
constexpr std::uint64_t kMostUnprovenBytes = 16U << 20U;

std::size_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t all = 0;
  std::size_t resident = 0;
  statm >> all >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

// Channelz answers in JSON. Returns the number that follows `name` from `at` on, or 0.
std::int64_t NumberAfter(std::string_view json, std::string_view name, std::size_t at = 0) {
  const std::size_t found = json.find(name, at);
  if (found == std::string_view::npos) return 0;
  const std::string_view rest = json.substr(found + name.size());
  std::int64_t number = 0;
  std::from_chars(rest.data(), rest.data() + rest.size(), number);
  return number;
}

std::string Taken(char* json) {
  if (json == nullptr) return {};
  std::string text(json);
  gpr_free(json);
  return text;
}

}  // namespace

ConnectionGuard::ConnectionGuard(Connections& connections,
                                 const std::vector<std::unique_ptr<Poller>>& pollers)
    : connections_(connections), reviewed_rss_(ResidentBytes()) {
  for (const auto& poller : pollers) watched_.push_back({.poller = poller.get()});
  server_id_ = NumberAfter(Taken(grpc_channelz_get_servers(0)), "\"serverId\":\"");
}

void ConnectionGuard::Look() {
  const Stay stay = LongestStay();
  const bool too_long = stay.time >= kLongestStay && stay.cpu >= kLongestStayCpu;
  const bool strictly =
      IsStrict() && stay.time >= kLongestStrictStay && stay.cpu >= kLongestStrictStayCpu;
  if (stay.time == Duration::zero()) {
    noted_ = false;
  } else if (!noted_) {
    NoteBytes();
  } else if (too_long || strictly) {
    CloseBusiest(too_long);
  }
  if (MemoryGrew() || review_again_) CloseThoseWithTooManyCalls();
}

ConnectionGuard::Stay ConnectionGuard::LongestStay() {
  const MonotonicTime now = BootTime();
  Stay longest;
  for (Watched& watched : watched_) {
    const Poller::Progress last = std::exchange(watched.last, watched.poller->progress());
    if (watched.last.within_grpc && watched.last.polls == last.polls &&
        watched.last.cpu - last.cpu >= kWorks) {
      const Stay stay = {now - watched.since, watched.last.cpu - watched.cpu_before};
      if (stay.time > longest.time) longest = stay;
    } else {
      watched.since = now;
      watched.cpu_before = watched.last.cpu;
    }
  }
  return longest;
}

void ConnectionGuard::NoteBytes() {
  noted_ = true;
  connections_.Review([](Connections::Connection& connection) {
    connection.bytes = BytesRead(connection.fd);
    return false;
  });
}

void ConnectionGuard::CloseBusiest(bool proven_too) {
  int busiest = -1;
  std::uint64_t most = kLeastFlood;
  connections_.Review([&](Connections::Connection& connection) {
    if (connection.peer.empty() || (connection.proven && !proven_too)) return false;
    const std::uint64_t read = BytesRead(connection.fd) - connection.bytes;
    if (read >= most) {
      most = read;
      busiest = connection.fd;
    }
    return false;
  });
  connections_.Review([&](Connections::Connection& connection) {
    if (connection.fd != busiest) return false;
    Report(connection.peer, "its frames kept others from being served");
    return true;
  });
}

bool ConnectionGuard::MemoryGrew() {
  const std::size_t resident = ResidentBytes();
  const bool grew = resident >= reviewed_rss_ + kGrowth;
  if (grew || resident < reviewed_rss_) reviewed_rss_ = resident;
  return grew;
}

void ConnectionGuard::CloseThoseWithTooManyCalls() {
  FindSockets();
  struct Load {
    int fd;
    bool proven;
    std::int64_t calls;
  };
  std::vector<Load> loads;
  std::int64_t total = 0;
  std::int64_t unproven = 0;
  connections_.Review([&](Connections::Connection& connection) {
    const std::int64_t calls = CallsOf(connection.peer);
    total += calls;
    if (!connection.proven) unproven += calls;
    loads.push_back({connection.fd, connection.proven, calls});
    return false;
  });
  std::sort(loads.begin(), loads.end(), [](const Load& a, const Load& b) {
    return a.proven != b.proven ? b.proven : a.calls > b.calls;
  });
  std::unordered_map<int, std::int64_t> far_too_many;
  std::unordered_set<int> too_many_unproven;
  for (const Load& load : loads) {
    if (load.calls > kMostLive || total > kMostTotal) {
      far_too_many.emplace(load.fd, load.calls);
      total -= load.calls;
    } else if (!load.proven && (load.calls > kMostUnproven || unproven > kMostUnprovenTotal)) {
      too_many_unproven.insert(load.fd);
    }
    if (!load.proven) unproven -= load.calls;
  }
  const MonotonicTime now = BootTime();
  review_again_ = !too_many_unproven.empty();
  connections_.Review([&](Connections::Connection& connection) {
    if (const auto found = far_too_many.find(connection.fd); found != far_too_many.end()) {
      Report(connection.peer, "it has " + std::to_string(found->second) + " calls");
      return true;
    }
    if (connection.proven) return false;
    if (BytesReceived(connection.fd) > kMostUnprovenBytes) {
      Report(connection.peer, "it sent too much without a valid request");
      return true;
    }
    if (!too_many_unproven.contains(connection.fd)) {
      connection.overloaded_since.reset();
      return false;
    }
    if (!connection.overloaded_since) connection.overloaded_since = now;
    if (!IsStrict() && now - *connection.overloaded_since < kOverloadPatience) return false;
    Report(connection.peer, "it has too many calls without a valid request");
    return true;
  });
}

void ConnectionGuard::Report(const std::string& peer, const std::string& why) {
  strict_until_ = BootTime() + kStrictTime;
  observe::LogThrottled(spdlog::level::warn, "connection closed", peer.substr(0, peer.rfind(':')),
                        "connection of " + peer + " closed: " + why);
}

// Learns how channelz calls the connections.
void ConnectionGuard::FindSockets() {
  constexpr std::string_view kName = "\"name\":\"chttp2 ";
  constexpr std::intptr_t kAtOnce = 500;
  std::unordered_map<std::string, std::int64_t> known;
  for (std::int64_t from = 0; true;) {
    const std::string json = Taken(grpc_channelz_get_server_sockets(server_id_, from, kAtOnce));
    std::int64_t last = 0;
    for (std::size_t at = json.find(kName); at != std::string::npos; at = json.find(kName, at)) {
      at += kName.size();
      const std::int64_t id = NumberAfter(json, "\"socketId\":\"", at);
      known[json.substr(at, json.find('"', at) - at)] = id;
      last = std::max(last, id);
    }
    if (last == 0 || json.find("\"end\":true") != std::string::npos) break;
    from = last + 1;
  }
  sockets_ = std::move(known);
}

std::int64_t ConnectionGuard::CallsOf(const std::string& peer) const {
  const auto socket = sockets_.find(peer);
  if (socket == sockets_.end()) return 0;
  const std::string json = Taken(grpc_channelz_get_socket(socket->second));
  return NumberAfter(json, "\"streamsStarted\":\"") - NumberAfter(json, "\"streamsSucceeded\":\"") -
         NumberAfter(json, "\"streamsFailed\":\"");
}

}  // namespace redlock::rpc
